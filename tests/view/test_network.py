from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnxcomp import model as models
from onnxcomp import pipeline, recipe
from onnxcomp.errors import ModelError
from onnxcomp.view.network import shown
from tests import pictures, run, zoo


def test_a_copy_is_marked_and_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "c.onnx"
    own = len(pictures.network("resnet").graph.nodes)
    model = pipeline.apply(pictures.network("resnet"), recipe.parse("prune"), calibration=run.Observed())
    models.save(model, path)
    before = path.read_bytes()
    found = shown(path)
    assert path.read_bytes() == before
    assert found.unmarked == ""
    nodes = {node.name: node for node in onnx.load_model_from_string(found.data).graph.node}
    added = [node for node in nodes.values() if any(prop.key == "pass" for prop in node.metadata_props)]
    assert found.nodes == len(nodes)
    assert found.added == len(added) == len(nodes) - own


def test_a_network_that_onnxcomp_does_not_take_is_shown_as_it_is(tmp_path: Path) -> None:
    proto = zoo.mlp()
    proto.graph.node[2].domain, proto.graph.node[2].op_type = "mine", "Fancy"
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    found = shown(path)
    assert (found.data, found.added) == (path.read_bytes(), 0)
    assert "mine::Fancy, not a standard ONNX operator" in found.unmarked


def test_external_data_comes_along(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.resnet(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    proto = onnx.load_model_from_string(shown(path).data)
    assert all(tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer)


def test_what_is_not_onnx_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("hello")
    with pytest.raises(ModelError, match="not an ONNX file"):
        shown(path)
    path.write_bytes(zoo.mlp().SerializeToString()[:300])
    with pytest.raises(ModelError, match="not an ONNX file"):
        shown(path)
