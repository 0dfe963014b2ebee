from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.errors import ModelError, OnnxcompError
from onnxcomp.model import Model, from_proto
from onnxcomp.passes.base import Placement
from onnxcomp.passes.distill import teachers
from tests import run
from tests.deploy.networks import compressed
from tests.passes.distill.teachers.scene import NETWORKS, TOLERANCE, alone, beside, proto, student, written

DATA = proto("mobilenet").SerializeToString()


def channels_last(made: onnx.ModelProto, *, softmax: bool = False) -> onnx.ModelProto:
    """The same network as tf2onnx writes a Keras one: (N, H, W, C), a Transpose, other names."""
    batch, channels, height, width = made.graph.input[0].type.tensor_type.shape.dim
    sizes = [batch.dim_value or "unk__123", height.dim_value, width.dim_value, channels.dim_value]
    image = helper.make_tensor_value_info("input_1:0", TensorProto.FLOAT, sizes)
    first = helper.make_node("Transpose", ["input_1:0"], ["input"], "first__6", perm=[0, 3, 1, 2])
    nodes = [first, *made.graph.node]
    if softmax:
        nodes += [helper.make_node("Softmax", ["output"], ["Identity:0"], "softmax")]
        made.graph.output[0].name = "Identity:0"
    del made.graph.node[:], made.graph.input[:]
    made.graph.node.extend(nodes)
    made.graph.input.append(image)
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    return made


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["densenet", "mobilenet_v3", "vit"])
def test_channels_last(tmp_path: Path, name: str, channels: int) -> None:
    path = written(channels_last(proto(name, 13, channels=channels)), tmp_path)
    network = student(17, channels=channels)
    images = run.images(network)
    found, answers = beside(network, path)
    expected = alone(path, images.transpose(0, 2, 3, 1))
    np.testing.assert_allclose(answers, expected, atol=TOLERANCE, rtol=0)
    assert "its images are given channels last" in found.notes
    assert teachers.read(path).image_shape == (channels, 16, 16)


def test_channels_last_of_free_sizes_are_told_as_they_are(tmp_path: Path) -> None:
    made = channels_last(proto("densenet", 13))
    made.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "height"
    with pytest.raises(ModelError) as caught:
        teachers.read(written(made, tmp_path))
    assert "the height and width of input input_1:0 are dynamic" in str(caught.value)
    assert "--input_name input_1:0 --input_shape 1,224,224,3" in str(caught.value)


def test_channels_last_with_softmax_and_a_batch_of_one(tmp_path: Path) -> None:
    path = written(channels_last(proto("densenet", 13, 1), softmax=True), tmp_path)
    network = student(17)
    images = run.images(network)
    _, answers = beside(network, path)
    expected = alone(path, images.transpose(0, 2, 3, 1), 1)
    powers = np.exp(answers.astype(np.float64))
    np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), expected, atol=TOLERANCE, rtol=0)


def _forms() -> list[tuple[str, str, Placement]]:
    found: list[tuple[str, str, Placement]] = []
    for name in ("densenet", "mobilenet", "vgg"):
        found += [(name, "", "tensorrt"), (name, "xavier", "tensorrt"), (name, "ort-cpu", "ort-cpu")]
    return found


@pytest.mark.parametrize(("name", "target", "placement"), _forms(), ids=str)
def test_every_form(tmp_path: Path, name: str, target: str, placement: Placement) -> None:
    """Compression (masks, Q/DQ, labels, losses) and deployable."""
    made: Model = compressed(from_proto(proto(name)), "prune,qat", placement=placement)
    if target:
        made = finalize(made, get_target(target))
    path = written(made, tmp_path)
    network = student()
    images = run.images(network)
    _, answers = beside(network, path)
    np.testing.assert_allclose(answers, alone(path, images), atol=TOLERANCE, rtol=0)
    assert [tensor.name for tensor in network.graph.inputs] == ["input"]


def test_integer_operators(tmp_path: Path) -> None:
    path = written(_integer(), tmp_path)
    network = student(21)
    found, answers = beside(network, path)
    np.testing.assert_allclose(answers, alone(path, run.images(network)), atol=TOLERANCE, rtol=0)
    assert any(node.op == "QLinearConv" for node in network.graph.nodes)
    assert "brought from opset 13 to 21" in found.notes


def _integer() -> onnx.ModelProto:
    rng = np.random.default_rng(0)
    constants = {
        "s": np.float32(0.03), "z": np.uint8(128), "w": rng.integers(-90, 90, (10, 3, 3, 3)).astype(np.int8),
        "ws": rng.uniform(1e-3, 2e-3, 10).astype(np.float32), "wz": np.zeros(10, np.int8),
        "ys": np.float32(0.02), "yz": np.uint8(120),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], "q"),
        helper.make_node("QLinearConv", ["q", "s", "z", "w", "ws", "wz", "ys", "yz"], ["c"], "conv"),
        helper.make_node("DequantizeLinear", ["c", "ys", "yz"], ["d"], "d"),
        helper.make_node("GlobalAveragePool", ["d"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["logits"], "flat"),
    ]
    graph = helper.make_graph(
        nodes,
        "integer",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_a_teacher_bears_its_path_and_any_input_name(tmp_path: Path) -> None:
    path = written(channels_last(proto("mobilenet")), tmp_path)
    teacher = teachers.read(str(path))
    assert teacher.graph.name == str(path)
    assert teacher.image.name == "input_1:0_channels_first"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file; check the path"),
        (b"", "not an ONNX file: it holds no graph; export the model again"),
        (b"PK\x03\x04 a zip", "not an ONNX file, or a truncated one; export the model again"),
        (DATA[: len(DATA) // 2], "not an ONNX file, or a truncated one; export the model again"),
    ],
    ids=["missing", "empty", "zip", "truncated"],
)
def test_what_is_no_network_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "teacher.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        teachers.read(path)
    assert str(caught.value) == f"{path}: {message}"


def test_what_is_no_classifier_is_refused(tmp_path: Path) -> None:
    made = proto("mobilenet")
    made.graph.output.append(
        helper.make_tensor_value_info("/avgpool_output_0", TensorProto.FLOAT, ["N", 16, 1, 1])
    )
    path = written(made, tmp_path)
    with pytest.raises(ModelError) as caught:
        teachers.read(path)
    assert str(caught.value) == (
        f"{path}: has 2 outputs (output, /avgpool_output_0); one of logits is expected;"
        " export the classifier alone"
    )


def test_two_images_are_refused(tmp_path: Path) -> None:
    made = proto("mobilenet")
    made.graph.input.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["N", 16, 16, 3]))
    with pytest.raises(ModelError, match=r"has 2 inputs \(input, other\)"):
        teachers.read(written(made, tmp_path))


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(DATA) - 1), st.binary(min_size=1, max_size=12))
def test_a_damaged_file_is_read_or_refused(tmp_path: Path, start: int, noise: bytes) -> None:
    path = tmp_path / "teacher.onnx"
    path.write_bytes(DATA[:start] + noise + DATA[start + len(noise) :])
    network, refusal = student(), ""
    try:
        teacher = teachers.read(path)
        teachers.check(teacher, network, resize=True)
        teachers.attach(network, [teacher], resize=True)
    except OnnxcompError as error:
        refusal = str(error)
    assert refusal == "" or (str(path) in refusal and "\n" not in refusal)


def test_every_network_is_read(tmp_path: Path) -> None:
    for name in NETWORKS:
        assert teachers.read(written(proto(name), tmp_path)).num_classes == 10
