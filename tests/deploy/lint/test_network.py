from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcomp.deploy.lint import lint
from onnxcomp.deploy.lint.network import dtype, name_of, read, sizes, values
from onnxcomp.deploy.targets import get_target
from onnxcomp.errors import ModelError
from tests.deploy.kinds import KINDS
from tests.deploy.lint.networks import good

value = helper.make_tensor_value_info


def model(nodes: list[onnx.NodeProto], *constants: onnx.TensorProto) -> onnx.ModelProto:
    """x (N, 4) to y."""
    graph = helper.make_graph(
        nodes,
        "odd",
        [value("x", TensorProto.FLOAT, ["N", 4])],
        [value("y", TensorProto.FLOAT, None)],
        constants,
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.acme", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def stored(kind: int, name: str = "w") -> onnx.TensorProto:
    return helper.make_tensor(name, kind, [4], [1, 0, 1, 0])


def cast(kind: int) -> onnx.ModelProto:
    nodes = [helper.make_node("Cast", ["w"], ["c"], to=1), helper.make_node("Add", ["x", "c"], ["y"])]
    return model(nodes, stored(kind))


def sparse() -> onnx.ModelProto:
    proto = model([helper.make_node("Add", ["x", "w"], ["y"])])
    entries = helper.make_tensor("w", TensorProto.FLOAT, [1], [3.0])
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [2])
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(entries, indices, [4]))
    return proto


def wrong_shape() -> onnx.ModelProto:
    proto = model([helper.make_node("Add", ["x", "w"], ["y"])], stored(TensorProto.FLOAT))
    proto.graph.initializer[0].dims[0] = 5
    return proto


ODD: dict[str, Callable[[], onnx.ModelProto]] = {
    "bfloat16": lambda: cast(TensorProto.BFLOAT16),
    "float8": lambda: cast(TensorProto.FLOAT8E4M3FN),
    "int4": lambda: cast(TensorProto.INT4),
    "sparse": sparse,
    "wrong shape": wrong_shape,
    "no names": lambda: model([helper.make_node("Relu", ["x"], ["y"])]),
    "custom": lambda: model([helper.make_node("Magic", ["x"], ["y"], domain="com.acme")]),
    "twice the same name": lambda: model(
        [helper.make_node("Relu", ["x"], ["a"], "n"), helper.make_node("Relu", ["a"], ["y"], "n")]
    ),
    "an input from nowhere": lambda: model([helper.make_node("Add", ["x", "nowhere"], ["y"])]),
    "two outputs": lambda: model([helper.make_node("TopK", ["x", "k"], ["y", "i"])]),
    "no inputs": lambda: model([helper.make_node("RandomNormal", [], ["y"], shape=[4])]),
    "sequences": lambda: model(
        [
            helper.make_node("SequenceConstruct", ["x"], ["s"]),
            helper.make_node("SequenceAt", ["s", "i"], ["y"]),
        ],
        numpy_helper.from_array(np.array(0), "i"),
    ),
    "a constant as output": lambda: model(
        [helper.make_node("Constant", [], ["y"], value=stored(TensorProto.FLOAT))]
    ),
}


RUN = ("bfloat16", "no names", "twice the same name")


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("name", ODD)
def test_any_file_is_looked_at(
    name: str, target: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "odd.onnx"
    path.write_bytes(ODD[name]().SerializeToString())
    report = lint(path, get_target(target), run=target == "ort-cpu" and name in RUN)
    assert report.target == target
    assert capfd.readouterr() == ("", "")


def test_external_data_is_read(tmp_path: Path) -> None:
    onnx.save(
        good().proto(), tmp_path / "net.onnx", save_as_external_data=True, location="data", size_threshold=1
    )
    assert lint(tmp_path / "net.onnx", get_target("xavier"), run=False).findings == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no such file"), (b"not ONNX", "not an ONNX file"), (b"", "not an ONNX file")],
)
def test_what_is_not_onnx_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read(path)


def test_a_cycle_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    proto = model([*nodes, helper.make_node("Add", ["x", "b"], ["y"])])
    path = tmp_path / "x.onnx"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=r"x\.onnx: cannot be read: .*[Cc]ycle"):
        read(path)


def test_shapes_types_and_values(tmp_path: Path) -> None:
    network = read(good().save(tmp_path))
    tensors = network.graph.tensors()
    assert (network.opset, network.no_shapes) == (17, "")
    assert sizes(tensors["conv1"]) == (None, 16, 8, 8)
    assert (dtype(tensors["relu1.q"]), dtype(tensors["relu1"]), dtype(None)) == ("int8", "float32", "")
    assert values(tensors["relu1.scale"]) == np.float32(0.1)
    assert values(tensors["relu1"]) is None
    unnamed = network.graph.nodes[0]
    unnamed.name = ""
    assert name_of(unnamed) == unnamed.outputs[0].name


def test_why_shapes_are_not_known_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    proto = model([helper.make_node("Add", ["x", "w"], ["y"])])
    proto.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, [2000], [0.0] * 2000))
    proto.graph.initializer[0].dims[0] = 3000
    path.write_bytes(proto.SerializeToString())
    report = lint(path, get_target("xavier"), run=False)
    assert report.notes[0].startswith("shapes are not known (")
