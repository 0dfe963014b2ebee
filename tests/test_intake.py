"""Every file and network that onnxcomp refuses, with its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxcomp.errors import ModelError
from onnxcomp.model import from_proto, load
from tests import zoo

Proto = onnx.ModelProto


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as refused:
        load(path)
    line = str(refused.value)
    start = f"{path}: ".replace("\0", r"\x00")
    assert line.startswith(start)
    assert "\n" not in line
    return line.removeprefix(start)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.onnx"


# Files


def test_missing_files(tmp_path: Path, path: Path) -> None:
    assert refusal(path) == "there is no such file; check the path"
    assert refusal(tmp_path / "a\0b") == "there is no such file; check the path"
    path.write_bytes(b"")
    assert refusal(path / "m.onnx") == "there is no such file; check the path"
    assert refusal(tmp_path) == "cannot be read (Is a directory); check the file"
    assert refusal(tmp_path / ("x" * 300)) == "cannot be read (File name too long); check the file"


def test_empty_file(path: Path) -> None:
    path.write_bytes(b"")
    assert refusal(path) == "not an ONNX file: it holds no graph; export the model again"


@pytest.mark.parametrize("content", [b"hello, world\n", b"PK\x03\x04" + bytes(100), b"\x80\x04]\x94.", b"{}"])
def test_not_onnx(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert refusal(path) in (
        "not an ONNX file, or a truncated one; export the model again",
        "not an ONNX file: it holds no graph; export the model again",
    )


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_truncated(path: Path, share: float) -> None:
    data = zoo.densenet().SerializeToString()
    path.write_bytes(data[: int(len(data) * share)])
    assert refusal(path) == "not an ONNX file, or a truncated one; export the model again"


def test_a_name_that_is_not_text(path: Path) -> None:
    data = zoo.densenet().SerializeToString()
    path.write_bytes(data.replace(b"features.conv0.weight", b"features.conv0.w\xff\xff\xff\xff\xff"))
    assert refusal(path) == "damaged: a name in it is not text; export the model again"


def test_any_damage_is_a_line_or_loads(path: Path) -> None:
    """Bits flipped and bytes lost, mostly in the structure that precedes the weights."""
    rng = np.random.default_rng(0)
    whole = zoo.mlp().SerializeToString()
    lines = []
    for _ in range(300):
        data = bytearray(whole)
        place = int(rng.integers(len(data)) if rng.random() < 0.3 else rng.integers(600))
        if rng.random() < 0.5:
            data[place] ^= 1 << int(rng.integers(8))
        else:
            del data[place : place + int(rng.integers(1, 20))]
        path.write_bytes(data)
        try:
            load(path)
        except ModelError as error:
            lines.append(str(error))
    assert len(lines) > 100
    assert all(line.startswith(f"{path}: ") and "\n" not in line for line in lines)


# External data


@pytest.fixture
def external(path: Path) -> Proto:
    """A network in ``path`` whose weights lie in ``weights.bin``; returned without them."""
    onnx.save_model(zoo.mlp(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return onnx.load_model(path, load_external_data=False)


def point(proto: Proto, location: str) -> str:
    """Let the first tensor say that its data lies at ``location``; returns the tensor's name."""
    tensor = proto.graph.initializer[0]
    assert tensor.data_location == TensorProto.EXTERNAL
    for entry in tensor.external_data:
        if entry.key == "location":
            entry.value = location
    return str(tensor.name)


def test_external_data_beside_the_model(path: Path, external: Proto) -> None:
    expected = {t.name: numpy_helper.to_array(t) for t in zoo.mlp().graph.initializer}
    assert len(expected) == len(external.graph.initializer) > 0
    constants = load(path).constants()
    assert constants.keys() == expected.keys()
    for name, constant in constants.items():
        np.testing.assert_array_equal(constant.values, expected[name])


def test_external_data_of_2_gib_is_refused_before_it_is_read(path: Path, external: Proto) -> None:
    with (path.parent / "weights.bin").open("r+b") as file:
        file.truncate(2**31)  # sparse: it takes no room
    path.write_bytes(external.SerializeToString())
    assert refusal(path) == (
        "keeps 2.00 GiB in external data, and less than 2 GiB are possible; choose a smaller network"
    )


def test_external_data_in_a_folder_below(path: Path, external: Proto) -> None:
    (path.parent / "data").mkdir()
    (path.parent / "weights.bin").rename(path.parent / "data" / "weights.bin")
    for tensor in external.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "data/weights.bin"
    path.write_bytes(external.SerializeToString())
    assert load(path).num_classes == 10


@pytest.mark.parametrize("kind", ["up", "absolute", "down and up", "link", "folder itself"])
def test_external_data_outside_the_folder(path: Path, external: Proto, kind: str) -> None:
    folder = path.parent / "inner"
    folder.mkdir()
    secret = path.parent / "weights.bin"
    (folder / "link.bin").symlink_to(secret)
    location = {
        "up": "../weights.bin",
        "absolute": str(secret),
        "down and up": "a/../../weights.bin",
        "link": "link.bin",
        "folder itself": ".",
    }[kind]
    name = point(external, location)
    inner = folder / "m.onnx"
    inner.write_bytes(external.SerializeToString())
    assert refusal(inner) == (
        f"tensor {name} keeps its data outside the model's folder ({location});"
        " move the data file beside the model and save it again"
    )


def test_external_data_of_an_attribute_is_checked_too(path: Path) -> None:
    proto = zoo.resnet()
    constant = next(node for node in proto.graph.node if node.op_type == "Constant")
    tensor = constant.attribute[0].t
    tensor.name = "hidden"
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    path.write_bytes(proto.SerializeToString())
    assert refusal(path) == (
        "tensor hidden keeps its data outside the model's folder (/etc/hostname);"
        " move the data file beside the model and save it again"
    )


@pytest.mark.parametrize("location", ["none.bin", "a\0b", "x" * 300])
def test_missing_external_data(path: Path, external: Proto, location: str) -> None:
    name = point(external, location)
    path.write_bytes(external.SerializeToString())
    assert (
        refusal(path) == f"the data file {location!r} of tensor {name} is missing; copy it beside the model"
    )


def test_external_data_without_a_place(path: Path, external: Proto) -> None:
    tensor = external.graph.initializer[0]
    del tensor.external_data[:]
    path.write_bytes(external.SerializeToString())
    assert refusal(path) == (
        f"tensor {tensor.name} keeps its data outside the model's folder ();"
        " move the data file beside the model and save it again"
    )


def test_truncated_external_data(path: Path, external: Proto) -> None:
    data = path.parent / "weights.bin"
    data.write_bytes(data.read_bytes()[:-4])
    line = refusal(path)
    assert line == "its external data cannot be read; export the model again" or (
        line.startswith("the data of tensor ") and "is not of its shape" in line
    )


# Networks


def one_node(
    op: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto], **attributes
) -> Proto:
    node = helper.make_node(op, [i.name for i in inputs], [o.name for o in outputs], "only", **attributes)
    graph = helper.make_graph([node], "g", inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tensor(name: str, *shape: str | int, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(shape))


def with_opset(version: int, domain: str = "") -> Proto:
    proto = zoo.mlp()
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid(domain, version))
    return proto


def with_custom_node() -> Proto:
    proto = zoo.mlp()
    proto.graph.node[0].domain = "com.example"
    proto.graph.node[0].op_type = "Magic"
    proto.graph.node[0].name = "first"
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    return proto


def with_custom_node_in_a_branch() -> Proto:
    branch = helper.make_graph(
        [helper.make_node("Magic", [], ["b"], domain="com.example")], "branch", [], [tensor("b", "N", 10)]
    )
    proto = zoo.mlp()
    proto.graph.node.append(
        helper.make_node("If", ["condition"], ["z"], "if", then_branch=branch, else_branch=branch)
    )
    return proto


OPSET_FIX = "export again with opset 17, or use onnx.version_converter"
INPUT_FIX = "export in float32 with channels first"
LOGITS_FIX = "export a classifier whose output is the logits"
REFUSED: dict[str, tuple[Callable[[], Proto], str]] = {
    "opset 11": (lambda: with_opset(11), f"opset 11 is outside 13 to 21; {OPSET_FIX}"),
    "opset 22": (lambda: with_opset(22), f"opset 22 is outside 13 to 21; {OPSET_FIX}"),
    "no standard opset": (lambda: with_opset(1, "ai.onnx.ml"), f"opset 0 is outside 13 to 21; {OPSET_FIX}"),
    "custom operator": (
        with_custom_node,
        "node first is com.example::Magic, not a standard ONNX operator; export without custom operators",
    ),
    "custom operator in a branch": (
        with_custom_node_in_a_branch,
        "node b is com.example::Magic, not a standard ONNX operator; export without custom operators",
    ),
    "dynamic height and width": (
        lambda: zoo_with_image("N", 3, "H", "W"),
        "the height and width of input input are dynamic (['N', 3, 'H', 'W']); fix them, for example:"
        " python -m onnxruntime.tools.make_dynamic_shape_fixed --input_name input --input_shape 1,3,224,224"
        " in.onnx out.onnx",
    ),
    "four channels": (
        lambda: pool_of("N", 4, 8, 8),
        f"input x is float32 ['N', 4, 8, 8]; float32 (N, 1 or 3, H, W) is expected; {INPUT_FIX}",
    ),
    "channels last": (
        lambda: pool_of("N", 8, 8, 3),
        f"input x is float32 ['N', 8, 8, 3]; float32 (N, 1 or 3, H, W) is expected; {INPUT_FIX}",
    ),
    "float16": (
        lambda: one_node(
            "Flatten",
            [tensor("x", "N", 3, 2, 2, kind=TensorProto.FLOAT16)],
            [tensor("y", "N", 12, kind=TensorProto.FLOAT16)],
        ),
        f"input x is float16 ['N', 3, 2, 2]; float32 (N, 1 or 3, H, W) is expected; {INPUT_FIX}",
    ),
    "a matrix": (
        lambda: one_node("Relu", [tensor("x", "N", 3)], [tensor("y", "N", 3)]),
        f"input x is float32 ['N', 3]; float32 (N, 1 or 3, H, W) is expected; {INPUT_FIX}",
    ),
    "two inputs": (
        lambda: one_node(
            "Add", [tensor("a", "N", 3, 2, 2), tensor("b", "N", 3, 2, 2)], [tensor("y", "N", 3, 2, 2)]
        ),
        "has 2 inputs (a, b); one image is expected; export the classifier alone",
    ),
    "no input": (
        lambda: one_node(
            "Constant", [], [tensor("y", 1, 3)], value=numpy_helper.from_array(np.zeros((1, 3), np.float32))
        ),
        "has 0 inputs; one image is expected; export the classifier alone",
    ),
    "two outputs": (
        lambda: one_node(
            "Split", [tensor("x", "N", 3, 2, 2)], [tensor("a", 1, 3, 2, 2), tensor("b", 1, 3, 2, 2)]
        ),
        "has 2 outputs (a, b); one of logits is expected; export the classifier alone",
    ),
    "a picture comes out": (
        lambda: one_node("Relu", [tensor("x", "N", 3, 2, 2)], [tensor("y", "N", 3, 2, 2)]),
        f"output y is float32 ['N', 3, 2, 2]; float32 (N, classes) is expected; {LOGITS_FIX}",
    ),
    "class numbers come out": (
        lambda: one_node(
            "Shape", [tensor("x", 2, 3, 2, 2)], [tensor("y", 4, kind=TensorProto.INT64)]
        ),
        f"output y is int64 [4]; float32 (N, classes) is expected; {LOGITS_FIX}",
    ),
    "an operator that does not exist": (
        lambda: one_node("Conjure", [tensor("x", "N", 3, 2, 2)], [tensor("y", "N", 3)]),
        "not a valid network: No Op registered for Conjure",
    ),
    "a node that reads nothing's output": (
        lambda: changed(zoo.mlp(), lambda g: g.node[0].input.__setitem__(0, "nothing")),
        "not a valid network: Nodes in a graph must be topologically sorted, however input 'nothing'",
    ),
    "two tensors of one name": (
        lambda: changed(zoo.mlp(), lambda g: g.node[1].output.__setitem__(0, g.node[0].output[0])),
        "not a valid network: Graph must be in single static assignment (SSA) form",
    ),
    "a weight of another shape": (
        lambda: changed(zoo.mlp(), lambda g: widen(g.initializer[0])),
        "not a valid network: [ShapeInferenceError]",
    ),
}  # fmt: skip


def changed(proto: Proto, change: Callable[[onnx.GraphProto], None]) -> Proto:
    change(proto.graph)
    return proto


def widen(weight: TensorProto) -> None:
    values = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(np.repeat(values, 2, axis=-1), weight.name))


def zoo_with_image(*dims: str | int) -> Proto:
    proto = zoo.densenet()
    shape = proto.graph.input[0].type.tensor_type.shape
    for entry, dim in zip(shape.dim, dims, strict=True):
        if isinstance(dim, str):
            entry.dim_param = dim
        else:
            entry.dim_value = dim
    return proto


def pool_of(*shape: str | int) -> Proto:
    return one_node("Flatten", [tensor("x", *shape)], [tensor("y", "N", int(np.prod(shape[1:])))])  # type: ignore[arg-type]


@pytest.mark.parametrize("case", REFUSED)
def test_refused_network(path: Path, case: str) -> None:
    build, message = REFUSED[case]
    path.write_bytes(build().SerializeToString())
    line = refusal(path)
    if message.startswith("not a valid network"):  # the rest is the installed onnx's wording
        assert line.startswith(message)
        assert line.endswith("; export it again")
    else:
        assert line == message


def test_the_caller_s_message_is_left_alone() -> None:
    proto = zoo.resnet()
    before = proto.SerializeToString(deterministic=True)
    from_proto(proto)
    assert proto.SerializeToString(deterministic=True) == before


def test_initializers_may_be_listed_as_inputs() -> None:
    """As exporters wrote them before IR version 4."""
    proto = zoo.mlp()
    for weight in proto.graph.initializer:
        proto.graph.input.append(tensor(weight.name, *weight.dims))
    model = from_proto(proto)
    assert [entry.name for entry in model.graph.inputs] == ["input"]
    assert model.constants().keys() == {weight.name for weight in proto.graph.initializer}
