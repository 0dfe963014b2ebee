from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from onnxcomp import macs as counting
from onnxcomp import model as models
from onnxcomp.deploy.estimate.estimate import work_of
from onnxcomp.deploy.estimate.work import filled, moved
from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.deploy.targets import get_target
from onnxcomp.deploy.write import write
from tests import zoo
from tests.deploy.lint.networks import CHANNELS, Net, good
from tests.deploy.networks import compressed

XAVIER, H200 = get_target("xavier"), get_target("h200")


@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet"])
def test_multiply_adds_are_those_of_the_network(name: str, tmp_path: Path) -> None:
    model = compressed(models.from_proto(zoo.ALL[name]()), "qat")
    path = tmp_path / "d.onnx"
    result, report = finalize_report(model, XAVIER)
    write(result, report, path)
    assert sum(each.macs for each in work_of(path, XAVIER, batch=3)) == 3 * (
        counting.total(result.graph) or 0
    )


def test_types(tmp_path: Path) -> None:
    net = good()
    found = {each.node or each.name: each.precision for each in work_of(net.save(tmp_path), XAVIER, batch=2)}
    assert found == {
        "reformat of x": "INT8",
        **dict.fromkeys(("conv1", "conv2", "conv3", "concat", "conv4", "max", "average", "gemm"), "INT8"),
    }


def test_a_layer_without_pairs_is_float_and_says_why(tmp_path: Path) -> None:
    net = good()
    net.remove_pair("conv4.w")
    (found,) = [each for each in work_of(net.save(tmp_path), XAVIER, batch=2) if each.node == "conv4"]
    assert (found.precision, found.why) == ("FP16", "its weight has no Q/DQ")
    (typed,) = [each for each in work_of(tmp_path / "net.onnx", H200, batch=2) if each.node == "conv4"]
    assert typed.precision == "FP32"  # TensorRT 11 takes the type in the file
    (plain,) = [e for e in work_of(tmp_path / "net.onnx", XAVIER, batch=2, fp16=False) if e.node == "conv4"]
    assert plain.precision == "FP32"


def test_a_border_between_types_is_a_reformat(tmp_path: Path) -> None:
    """A pool reads what a float layer gives in FP16, and gives it to a quantised one."""
    net = good()
    net.remove_pair("conv2.w")
    found = [each.name for each in work_of(net.save(tmp_path), XAVIER, batch=2)]
    assert "reformat of x" in found
    assert sum(name.startswith("reformat") for name in found) > 1


def test_bytes_of_a_layer(tmp_path: Path) -> None:
    """conv1 reads 2x16x8x8 in INT8, filled up to 32 channels, and writes as much."""
    (found,) = [each for each in work_of(good().save(tmp_path), XAVIER, batch=2) if each.node == "conv1"]
    assert found.moved == 2 * (2 * 32 * 8 * 8)
    assert (found.inputs, found.outputs, found.groups) == (CHANNELS, CHANNELS, 1)
    assert found.weights == CHANNELS * CHANNELS * 9
    assert found.macs == 2 * 8 * 8 * found.weights


@pytest.mark.parametrize(
    ("channels", "precision", "expected"),
    [
        (3, "INT8", 4),
        (4, "INT8", 4),
        (5, "INT8", 32),
        (33, "INT8", 64),
        (3, "FP16", 4),
        (9, "FP16", 16),
        (7, "FP32", 7),
    ],
)
def test_channels_are_filled_up_to_vectors(channels: int, precision: str, expected: int) -> None:
    assert filled(channels, precision) == expected
    assert (
        moved((1, channels, 2, 2), precision) == expected * 4 * {"INT8": 1, "FP16": 2, "FP32": 4}[precision]
    )
    assert moved((5, 10), precision) == 50 * {"INT8": 1, "FP16": 2, "FP32": 4}[precision]


@pytest.mark.parametrize(("channels", "free"), [(CHANNELS, False), (2 * CHANNELS, True)])
def test_a_concat_of_whole_vectors_costs_nothing(channels: int, free: bool, tmp_path: Path) -> None:
    net = Net()
    net.inputs = [("x", ("N", channels, 8, 8))]
    parts = [
        net.pair(net.conv(net.pair("x") if i == 0 else "x.dq", f"c{i}", channels, channels)) for i in range(2)
    ]
    net.output = net.node("Concat", "concat", parts, axis=1)
    (found,) = [each for each in work_of(net.save(tmp_path), XAVIER, batch=1) if each.kind == "concat"]
    assert found.free is free


def test_two_four_weights_are_seen(tmp_path: Path) -> None:
    net = good()
    weight = np.zeros((CHANNELS, CHANNELS, 3, 3), np.float32)
    weight[:, ::2] = np.random.default_rng(0).normal(size=(CHANNELS, CHANNELS // 2, 3, 3))
    net.constant("conv1.w", weight)
    found = {each.node: each.two_four for each in work_of(net.save(tmp_path), XAVIER, batch=1)}
    assert (found["conv1"], found["conv2"]) == (True, False)


PATTERN = np.resize([1.0, 0.0, 0.0, 1.0], 8)  # along what is summed over


@pytest.mark.parametrize(
    ("op", "weight", "first", "attributes"),
    [
        ("MatMul", PATTERN[:, None] * np.ones((8, 6)), False, {}),
        ("MatMul", np.ones((6, 1)) * PATTERN, True, {}),
        ("Gemm", PATTERN[:, None] * np.ones((8, 6)), False, {}),
        ("Gemm", np.ones((6, 1)) * PATTERN, False, {"transB": 1}),
        ("ConvTranspose", PATTERN[:, None, None, None] * np.ones((8, 6, 2, 2)), False, {}),
    ],
)
def test_two_four_lies_along_what_is_summed_over(
    op: str, weight: np.ndarray, first: bool, attributes: dict[str, int], tmp_path: Path
) -> None:
    for values, expected in ((weight, True), (np.ones_like(weight), False)):
        net = Net()
        net.inputs = [("x", (1, 8, 4, 4) if op == "ConvTranspose" else (8, 8))]
        read = [net.constant("w", values), "x"] if first else ["x", net.constant("w", values)]
        net.output = net.node(op, "product", read, **attributes)
        (found,) = [each for each in work_of(net.save(tmp_path), XAVIER, batch=1) if each.macs]
        assert (found.two_four, found.inputs, found.outputs) == (expected, 8, 6)


@pytest.mark.parametrize("shape", [(8,), (8, 4)])
def test_a_product_with_a_weight(shape: tuple[int, ...], tmp_path: Path) -> None:
    net = Net()
    net.inputs = [("x", (2, 3, 8))]
    net.output = net.node("MatMul", "product", ["x", net.constant("w", np.ones(shape))])
    (found,) = [each for each in work_of(net.save(tmp_path), XAVIER, batch=1) if each.macs]
    outputs = math.prod(shape[1:])
    assert (found.macs, found.inputs, found.outputs) == (2 * 3 * 8 * outputs, 8, outputs)
    assert found.weights == 8 * outputs


def test_a_product_with_a_row(tmp_path: Path) -> None:
    net = Net()
    net.inputs = [("x", (2, 8, 4))]
    net.output = net.node("MatMul", "product", [net.constant("w", np.ones(8)), "x"])
    (found,) = [each for each in work_of(net.save(tmp_path), XAVIER, batch=1) if each.macs]
    assert (found.macs, found.inputs, found.outputs, found.weights) == (2 * 8 * 4, 8, 1, 8)


def test_a_product_of_activations_has_no_weights(tmp_path: Path) -> None:
    """Both are read once."""
    net = Net()
    net.inputs = [("x", (2, 3, 8)), ("y", (2, 8, 4))]
    net.output = net.node("MatMul", "product", ["x", "y"])
    (found,) = [each for each in work_of(net.save(tmp_path), XAVIER, batch=1) if each.macs]
    assert (found.macs, found.weights, found.two_four) == (2 * 3 * 8 * 4, 0, False)


def test_a_dla_without_a_calibration_cache_has_no_int8(tmp_path: Path) -> None:
    found = work_of(good().save(tmp_path), get_target("xavier-dla"), batch=1)
    assert {each.precision for each in found} == {"FP16"}


def test_a_dla_takes_its_types_from_the_files_beside(tmp_path: Path) -> None:
    target = get_target("xavier-dla")
    result, report = finalize_report(compressed(models.from_proto(zoo.resnet()), "qat"), target)
    write(result, report, tmp_path / "d.onnx")
    found = work_of(tmp_path / "d.onnx", target, batch=1)
    assert {each.precision for each in found} == {"INT8", "FP16"}
    assert sum(each.precision == "INT8" for each in found if each.macs) >= 4
    (tmp_path / "d.precisions.txt").write_text(",".join(f"{each.node}:fp16" for each in found if each.node))
    assert {each.precision for each in work_of(tmp_path / "d.onnx", target, batch=1)} == {"FP16"}


def test_work_grows_with_the_batch(tmp_path: Path) -> None:
    path = good().save(tmp_path)
    one, four = (work_of(path, XAVIER, batch=batch) for batch in (1, 4))
    assert [4 * each.moved for each in one] == [each.moved for each in four]
    assert [4 * each.macs for each in one] == [each.macs for each in four]
    assert math.isclose(sum(e.weights for e in one), sum(e.weights for e in four))
