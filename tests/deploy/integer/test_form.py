"""The form as a whole, on the networks of the zoo, against what ONNX Runtime makes of it."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcomp import graphs, pipeline, recipe, runtime
from onnxcomp.deploy.finalize import Report, finalize_report
from onnxcomp.deploy.targets import get_target
from onnxcomp.model import Model, from_proto, to_proto
from onnxcomp.models.densenet import DenseNet
from tests import classifiers, zoo
from tests.builder import Builder
from tests.deploy.integer.small import fused
from tests.deploy.networks import compressed, images, logits, postactivation
from tests.run import Observed

ZOO = {**zoo.ALL, **zoo.MORE, "postactivation": postactivation}
WHOLE = ("densenet", "resnet", "mobilenet", "mlp", "vgg", "postactivation")
FLOAT = (
    "Conv",
    "FusedConv",
    "Gemm",
    "FusedGemm",
    "BatchNormalization",
    "MatMul",
    "Relu",
    "Add",
    "AveragePool",
)
DECIBEL = 38
"""Folding and the rounding of biases move what pairs round: one value in some hundreds lies so close to the
middle of two steps that it goes the other way. In these networks that leaves 40 to 55 dB."""


@cache
def _forms(name: str) -> tuple[Model, Model, Report]:
    """Compression form, deployable form and report."""
    before = compressed(from_proto(ZOO[name]()), "qat", placement="ort-cpu")
    return before, *finalize_report(before, get_target("ort-cpu"))


def decibel(signal: np.ndarray, other: np.ndarray) -> float:
    noise = np.mean((signal - other).astype(np.float64) ** 2)
    return float(10 * np.log10(np.mean(signal.astype(np.float64) ** 2) / max(noise, 1e-20)))


@pytest.mark.parametrize("opset", [17, 20, 21])
def test_products_of_tokens_run(opset: int) -> None:
    """ONNX Runtime 1.19 has no kernel for the QLinearMatMul of opset 21."""
    net = Builder(0)
    made = net.node("Conv", ["input", net.constant("w", net.he(8, 3, 3, 3))], "made", kernel_shape=[3, 3])
    flat = net.node("Reshape", [made, net.constant("shape", np.array([0, 8, -1]))], "flat")
    tokens = net.node("Transpose", [flat], "tokens", perm=[0, 2, 1])
    for name in ("a", "b"):
        product = net.node("MatMul", [tokens, net.constant(f"{name}.w", net.he(8, 8))], f"{name}.product")
        tokens = net.node("Relu", [product], f"{name}.active")
    wide = net.node("Flatten", [tokens], "wide")
    logits_ = net.node("Gemm", [wide, net.constant("c.w", net.he(5, 36 * 8))], "logits", transB=1)
    before = compressed(from_proto(net.model(logits_, opset, ("N", 3, 8, 8), 5)), "qat", placement="ort-cpu")
    after = finalize_report(before, get_target("ort-cpu"))[0]
    batch = images(before, 16)
    integer = runtime.session(after, threads=1).run(None, {after.image.name: batch})[0]
    assert decibel(logits(before, batch), integer) >= DECIBEL


@pytest.mark.parametrize("name", ["resnet", "mobilenet", "vgg"])
def test_channels_without_weights_answer_as_in_the_compression_form(name: str) -> None:
    model = from_proto(ZOO[name]())
    for weight in list(graphs.weights(model.graph))[:-1]:
        keep = np.arange(weight.tensor.shape[weight.axis]) % 4 != 1
        weight.tensor.values = weight.tensor.values * graphs.along(
            keep, weight.axis, len(weight.tensor.shape)
        )
    before = compressed(model, "qat", placement="ort-cpu")
    after = finalize_report(before, get_target("ort-cpu"))[0]
    batch = images(before, 16)
    # As with all weights; biases in steps of the unused scale, 1, left 35 dB in the resnet.
    assert decibel(logits(before, batch), logits(after, batch)) >= DECIBEL


@pytest.mark.parametrize("name", ZOO)
def test_it_answers_as_the_compression_form(name: str) -> None:
    """Integer kernels against pairs that round in float32."""
    before, after, _ = _forms(name)
    batch = images(before, 16)
    expected = logits(before, batch)
    integer = runtime.session(after, threads=1).run(None, {after.image.name: batch})[0]
    assert decibel(expected, integer) >= DECIBEL
    assert decibel(expected, logits(after, batch)) >= DECIBEL
    onnx.checker.check_model(to_proto(after), full_check=True)


@pytest.mark.parametrize("name", ZOO)
def test_the_report_is_what_the_runtime_does(name: str, tmp_path: Path) -> None:
    _, after, report = _forms(name)
    assert report.kernels is not None
    nodes = fused(to_proto(after).SerializeToString(), tmp_path)
    counts = Counter(node.op_type for node in nodes)
    for op, kernel in (("Conv", "QLinearConv"), ("Gemm", "QGemm"), ("MatMul", "MatMulIntegerToFloat")):
        left = sum(one == op for _, one, _ in report.kernels.floats)
        all_of_them = sum(node.op == op for node in after.graph.nodes)
        assert counts[kernel] == all_of_them - left
    assert not any(counts[op] for op in ("Conv", "FusedConv", "Gemm", "BatchNormalization"))
    if name in WHOLE:
        assert report.kernels.floats == ()
        assert not any(counts[op] for op in FLOAT)
        assert counts["Transpose"] <= 2  # to channels last, and back for the classifier
        assert counts["DequantizeLinear"] == 0
        assert counts["QuantizeLinear"] == 1


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "vgg11_bn", "resnet18", "mobilenet_v2", "densenet121"])
def test_every_architecture_runs_in_integers(name: str, tmp_path: Path) -> None:
    network = classifiers.network(name)
    before = pipeline.apply(
        network, recipe.parse("qat{calibration=max}"), calibration=Observed(), placement="ort-cpu"
    )
    after, report = finalize_report(before, get_target("ort-cpu"))
    assert report.kernels is not None
    assert report.kernels.floats == ()
    counts = Counter(node.op_type for node in fused(to_proto(after).SerializeToString(), tmp_path))
    assert not any(counts[op] for op in FLOAT)
    assert counts["Transpose"] <= 2


def test_a_dense_block_grows_by_one_piece_a_layer() -> None:
    net = DenseNet(growth=4, blocks=(5, 3), features=8)
    network = from_proto(net.proto("dense", num_classes=10, input_size=32, stem="cifar", seed=1))
    before = compressed(network, "qat", placement="ort-cpu")
    assert max(len(node.inputs) for node in before.graph.nodes if node.op == "Concat") == 6
    after, report = finalize_report(before, get_target("ort-cpu"))
    assert report.integer is not None
    assert (report.integer.grown, report.integer.convolutions) == (6, 10)
    assert sum(node.op == "Concat" for node in after.graph.nodes) == 8
    for node in after.graph.nodes:
        if node.op == "Concat":
            assert len(node.inputs) == 2
            assert {tensor.dtype for tensor in (*node.inputs, *node.outputs)} == {np.dtype(np.uint8)}
    batch = images(before, 8)
    assert decibel(logits(before, batch), logits(after, batch)) >= DECIBEL


@pytest.mark.parametrize("options", ["concat=each", "concat=none", "residual=false", "pooling=false"])
@pytest.mark.parametrize("name", ["densenet", "resnet"])
def test_other_placements_answer_the_same(name: str, options: str) -> None:
    before = compressed(from_proto(ZOO[name]()), f"qat{{{options}}}", placement="ort-cpu")
    after, report = finalize_report(before, get_target("ort-cpu"))
    batch = images(before, 16)
    integer = runtime.session(after, threads=1).run(None, {after.image.name: batch})[0]
    assert decibel(logits(before, batch), integer) >= DECIBEL
    assert report.kernels is not None
    assert report.kernels.integer > 0


def test_pruned_weights_stay_0() -> None:
    before = compressed(from_proto(zoo.densenet()), "prune{keep_first=false},qat", placement="ort-cpu")
    after, report = finalize_report(before, get_target("ort-cpu"))
    assert report.masked > 0
    zeros = {n: t.values for n, t in after.constants().items() if n.endswith("conv1.weight.quantized")}
    assert len(zeros) == 4
    assert all(0.4 < np.mean(values == 0) < 0.6 for values in zeros.values())


def test_a_clip_within_the_range_of_its_pair_clips_integers(tmp_path: Path) -> None:
    """Training may learn such scales."""
    before = compressed(from_proto(zoo.mobilenet()), "qat", placement="ort-cpu")
    for node in before.graph.nodes:
        if node.op == "Clip":
            (quantize,) = node.outputs[0].outputs
            quantize.inputs[1].values = np.array(quantize.inputs[1].values * 1.5, np.float32)
    after, report = finalize_report(before, get_target("ort-cpu"))
    assert report.kernels is not None
    assert report.kernels.floats == ()
    counts = Counter(node.op_type for node in fused(to_proto(after).SerializeToString(), tmp_path))
    assert counts["Clip"] > 0
    assert not any(counts[op] for op in FLOAT)
    batch = images(before, 8)
    assert decibel(logits(before, batch), logits(after, batch)) >= DECIBEL
