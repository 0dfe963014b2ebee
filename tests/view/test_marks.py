from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.model import Model, Role, from_proto, to_proto
from onnxcomp.origin import origin
from onnxcomp.report.layers import layers
from onnxcomp.view.marks import annotate, marks
from tests import pictures, run, zoo


@pytest.fixture(scope="module")
def compressed() -> Model:
    passes = recipe.parse("prune,qat,distill")
    model = pipeline.apply(pictures.network("densenet"), passes, calibration=run.Observed())
    mask = model.constants()["features.transition1.conv.weight.mask"]
    mask.values = (np.arange(mask.values.size) % 4 == 0).astype(np.float32).reshape(mask.values.shape)
    return model


def test_each_added_node_says_its_pass_and_role(compressed: Model) -> None:
    found = marks(compressed)
    for node in compressed.graph.nodes:
        source = origin(node.name, node.op)
        if source is not None:
            assert found[node.name].facts["pass"] == source.step
            assert found[node.name].text.startswith(f"added {'for' if source.step == 'training' else 'by'} ")
    own = [node.name for node in compressed.graph.nodes if origin(node.name, node.op) is None]
    assert [name for name in own if name in found] == [layer.name for layer in layers(compressed)]


def test_a_mask_says_its_zeros(compressed: Model) -> None:
    model = compressed.copy()
    model.sparsities = {"features.transition1.conv.weight": 0.8}
    facts = marks(model)["prune/features.transition1.conv.weight"].facts
    size = compressed.constants()["features.transition1.conv.weight"].values.size
    assert facts == {
        **{"pass": "prune", "role": "mask", "of": "features.transition1.conv.weight"},
        **{"sparsity": "75.0 %", "zeros": f"{size * 3 // 4:,} of {size:,}", "sparsity at the end": "80.0 %"},
    }


def test_a_pair_says_its_scale(compressed: Model) -> None:
    found = marks(compressed)
    for pair in graphs.quantizers(compressed.graph):
        facts = found[pair.quantize.name].facts
        ends = [float(text) for text in facts["scale"].split(" to ")]
        assert ends[0] == pytest.approx(float(pair.scale.values.min()), rel=1e-5)
        assert ends[-1] == pytest.approx(float(pair.scale.values.max()), rel=1e-5)
        assert facts["zero point"] == "0"
        assert facts["type"] == "int8"
        assert ("channels" in facts) is pair.per_channel
        assert "the scale is" not in facts
        assert {**found[pair.dequantize.name].facts, "role": "quantize"} == facts


def test_a_learned_scale_says_so(compressed: Model) -> None:
    model = compressed.copy()
    model.roles["classifier.weight.scale"] = Role.LEARNED_SCALE
    said = [name for name, mark in marks(model).items() if "the scale is" in mark.facts]
    assert said == ["qat/classifier.weight/quantize", "qat/classifier.weight/dequantize"]


def test_a_loss_says_its_weight_and_that_it_goes(compressed: Model) -> None:
    facts = marks(compressed)["loss/task"].facts
    assert facts == {
        **{"pass": "training", "role": "task loss", "gone after": "finalize"},
        "weight in the loss": f"{compressed.losses['loss/task']:g}",
    }
    assert marks(compressed)["teacher//features/conv0/Conv"].facts["gone after"] == "finalize"


def test_layers_of_a_finalized_file_say_sparsity_and_precision(compressed: Model) -> None:
    model = finalize(compressed, get_target("ort-cpu"))
    found = marks(model)
    (layer,) = (layer for layer in layers(model) if "transition1" in layer.name)
    assert layer.sparsity >= 75  # INT8 rounds a few more to 0
    assert found[layer.name].facts["sparsity"] == f"{layer.sparsity:.1f} %"
    assert found[layer.name].facts["precision"] == layer.precision == "int8 w+a"
    assert f"{layer.sparsity:.1f} % zeros, int8 w+a" in found[layer.name].text


def test_marks_are_written_beside_what_the_nodes_say_already(compressed: Model) -> None:
    proto = to_proto(compressed)
    nodes = {node.name: node for node in proto.graph.node}
    nodes["prune/features.transition1.conv.weight"].doc_string = "onnxcomp: what an older file says"
    nodes["/classifier/Gemm"].doc_string = "the user's"
    found = marks(compressed)
    annotate(proto, found)
    assert nodes["/classifier/Gemm"].doc_string == f"the user's\nonnxcomp: {found['/classifier/Gemm'].text}"
    mask = nodes["prune/features.transition1.conv.weight"]
    assert mask.doc_string == f"onnxcomp: {found[mask.name].text}"
    assert {prop.key: prop.value for prop in mask.metadata_props} == found[mask.name].facts
    onnx.checker.check_model(proto)


def test_nodes_without_a_name_of_their_own_are_found() -> None:
    proto = zoo.mlp()
    for index, name in enumerate(("", "same", "same", "prune/mine", "")):
        proto.graph.node[index].name = name
    found = marks(from_proto(proto))
    annotate(proto, found)
    marked = [node.op_type for node in proto.graph.node if node.doc_string]
    assert marked == ["Gemm", "MatMul"]
    assert all(
        node.doc_string.startswith("onnxcomp: layer: ") for node in proto.graph.node if node.doc_string
    )
