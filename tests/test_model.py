"""A network and what travels with it: read, written, copied."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from onnxcomp import metadata, pipeline, recipe
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.errors import ModelError, OnnxcompError
from onnxcomp.model import Form, Model, Preprocessing, Role, from_proto, load, save, to_proto
from tests import run, zoo

CLASSES = tuple("abcdefghij")


def told(model: Model) -> dict[str, Any]:
    """Everything but the graph."""
    return {name: value for name, value in vars(model).items() if name != "graph"}


def full() -> Model:
    """A model whose every field is set."""
    model = from_proto(zoo.densenet())
    model.form = Form.COMPRESSION
    model.preprocessing = Preprocessing((125.3, 123.0, 1 / 3), (63.0, 62.1, 66.7))
    model.classes = CLASSES
    model.recipe = "prune{sparsity=0.8},qat"
    model.roles = {"features.conv0.weight": Role.TRAINABLE, "features.norm0.running_var": Role.STATISTIC}
    model.losses = {"loss/task": 0.1, "loss/boundary": 1 / 3}
    model.properties = {"author": "somebody", "notes": "é\n"}
    return model


def test_metadata_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = full()
    save(model, path)
    again = load(path)
    assert told(again) == told(model)
    images = run.images(model)
    np.testing.assert_array_equal(run.logits(again, images), run.logits(model, images))


def test_a_file_that_says_nothing() -> None:
    assert told(from_proto(zoo.mlp())) == told(Model(graph=None))


@pytest.mark.parametrize("name", zoo.ALL)
@pytest.mark.parametrize("batch", ["batch", 2])
def test_weights_and_answers_come_back(tmp_path: Path, name: str, batch: str | int) -> None:
    model = from_proto(zoo.ALL[name](batch=batch, channels=1))
    save(model, tmp_path / "m.onnx")
    again = load(tmp_path / "m.onnx")
    before, after = model.constants(), again.constants()
    assert before.keys() == after.keys()
    for key, constant in before.items():
        np.testing.assert_array_equal(after[key].values, constant.values)
    images = run.images(model)
    np.testing.assert_array_equal(run.logits(again, images), run.logits(model, images))


def test_what_is_written_is_ir_8() -> None:
    proto = zoo.mlp(21)
    proto.ir_version = 10
    written = to_proto(from_proto(proto))
    assert (written.ir_version, written.producer_name) == (8, "onnxcomp")
    assert written.opset_import[0].version == 21
    onnx.checker.check_model(written, full_check=True)


def test_questions() -> None:
    model = from_proto(zoo.densenet(batch="N", classes=7, size=12, channels=1))
    assert (model.image.name, model.logits.name) == ("input", "output")
    assert (model.image_shape, model.batch, model.num_classes) == ((1, 12, 12), None, 7)
    assert from_proto(zoo.densenet(batch=5)).batch == 5
    assert set(model.constants()) == {weight.name for weight in zoo.densenet().graph.initializer}


def test_labels_and_losses_are_neither_image_nor_logits(tmp_path: Path) -> None:
    proto = zoo.mlp()
    proto.graph.input.insert(0, helper.make_tensor_value_info("labels", onnx.TensorProto.INT64, ["N"]))
    for name in ("loss/task", "loss"):
        proto.graph.node.append(
            helper.make_node("ReduceMean", ["output"], [name], f"make {name}", keepdims=0)
        )
        proto.graph.output.insert(0, helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, []))
    own = {"form": "compression", "losses": json.dumps({"loss/task": 1.0})}
    helper.set_model_props(proto, {f"onnxcomp.{key}": value for key, value in own.items()})
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    model = load(path)
    assert (model.image.name, model.logits.name) == ("input", "output")
    assert [entry.name for entry in model.graph.inputs] == ["labels", "input"]
    assert [entry.name for entry in model.graph.outputs] == ["loss", "loss/task", "output"]


def test_a_copy_is_independent() -> None:
    model = full()
    before = to_proto(model).SerializeToString(deterministic=True)
    copy = model.copy()
    assert told(copy) == told(model)
    assert to_proto(copy).SerializeToString(deterministic=True) == before
    copy.roles.clear()
    copy.losses["loss/other"] = 1.0
    copy.properties["new"] = "x"
    for constant in copy.constants().values():
        constant.values = np.zeros_like(constant.values)
        constant.name += "!"
    copy.graph.nodes.clear()
    assert to_proto(model).SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(
    ("key", "text", "reason"),
    [
        ("form", "training", "'training' is not a valid Form"),
        ("preprocessing", "{", "Expecting property name"),
        ("preprocessing", "[]", "[] is not an object"),
        ("preprocessing", "{}", "None is not a list of numbers"),
        ("preprocessing", '{"mean": "abc", "std": "abc"}', "abc is not a list of numbers"),
        ("preprocessing", '{"mean": [1, 2, 3], "std": [1, 2]}', "preprocessing needs as many deviations"),
        ("preprocessing", '{"mean": [1, 2, 3], "std": [1, 0, 1]}', "preprocessing needs as many deviations"),
        ("preprocessing", '{"mean": [1], "std": [1]}', "1 means for 3 channels"),
        ("classes", "abcdefghij", "Expecting value"),
        ("classes", '"abcdefghij"', '"abcdefghij" is not a list of strings'),
        ("classes", '["a", "b"]', "2 class names for 10 logits"),
        ("roles", '{"w": "king"}', "'king' is not a valid Role"),
        ("roles", "[]", "[] is not an object"),
        ("losses", '{"loss/task": "much"}', "much of loss/task is not a number"),
        ("losses", "[" * 100_000, "nested too deeply"),
    ],
)
def test_damaged_metadata(tmp_path: Path, key: str, text: str, reason: str) -> None:
    proto = zoo.mlp()
    helper.set_model_props(proto, {metadata.PREFIX + key: text})
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError) as refused:
        load(path)
    line = str(refused.value)
    assert line.startswith(f"{path}: its onnxcomp metadata is damaged ({reason}")
    assert line.endswith("; start again from the model before onnxcomp")
    assert "\n" not in line


def test_save_replaces_the_file_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"before")
    model = from_proto(zoo.mlp())

    def fail(*_: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fail)
        with pytest.raises(OSError, match="disk full"):
            save(model, path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    save(model, path)
    assert load(path).num_classes == 10
    assert list(tmp_path.iterdir()) == [path]


def test_save_refuses_a_read_only_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"before")
    path.chmod(stat.S_IRUSR)
    with pytest.raises(OnnxcompError) as refused:
        save(from_proto(zoo.mlp()), path)
    assert str(refused.value) == f"{path}: cannot be written; choose another output or change its mode"
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_save_refuses_a_folder_and_a_missing_one(tmp_path: Path) -> None:
    model = from_proto(zoo.mlp())
    with pytest.raises(OnnxcompError, match=r"is a folder; name a file$"):
        save(model, tmp_path)
    with pytest.raises(OnnxcompError, match=r"there is no such folder; create it or choose another$"):
        save(model, tmp_path / "no" / "m.onnx")
    assert not list(tmp_path.iterdir())


def test_the_same_model_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        save(full(), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_nodes_called_as_the_passes_call_theirs_are_renamed() -> None:
    proto = zoo.resnet()
    first, second = [node for node in proto.graph.node if node.op_type == "Conv"][:2]
    first.name, second.name = "teacher/conv", "prune/conv"
    names = [node.name for node in from_proto(proto).graph.nodes]
    assert not [name for name in names if name.startswith(("teacher/", "prune/", "loss/", "qat/"))]
    assert "model/teacher/conv" in names


@pytest.mark.parametrize("name", ["labels", "loss"])
@pytest.mark.parametrize("end", ["input", "output"])
def test_an_end_called_as_one_of_the_compression_form_is_refused(name: str, end: str) -> None:
    proto = zoo.mlp()
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [name if tensor == end else tensor for tensor in names]
    getattr(proto.graph, end)[0].name = name
    with pytest.raises(ModelError, match=f"has an input or output called {name}, .*; rename it"):
        from_proto(proto)


def test_in_a_compression_form_added_nodes_say_so_and_nothing_else_does(tmp_path: Path) -> None:
    network = from_proto(zoo.densenet())
    model = pipeline.apply(network, recipe.parse("prune,qat"), calibration=run.Observed())
    save(model, tmp_path / "c.onnx")
    nodes = {node.name: node for node in onnx.load(tmp_path / "c.onnx").graph.node}
    said = {name for name, node in nodes.items() if node.doc_string}
    assert said == nodes.keys() - {node.name for node in network.graph.nodes}
    mask = nodes["prune/features.transition1.conv.weight"]
    assert mask.doc_string == "onnxcomp: added by prune: mask of features.transition1.conv.weight"
    # Reading, running and writing know nothing of it.
    assert to_proto(load(tmp_path / "c.onnx")) == to_proto(model)
    for other in (network, finalize(model, get_target("ort-cpu"))):
        save(other, tmp_path / "other.onnx")
        assert not any(node.doc_string for node in onnx.load(tmp_path / "other.onnx").graph.node)
