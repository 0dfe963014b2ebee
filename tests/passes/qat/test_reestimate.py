"""Re-estimated statistics against layer after layer in numpy, and what they do for the answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.calibration import ImageCalibration
from onnxcomp.model import Model, from_proto
from onnxcomp.passes.qat.reestimate import MEAN, VARIANCE, reestimate, statistics
from onnxcomp.passes.qat.sqnr import logits, sqnr
from tests import run, zoo
from tests.classifiers import NETWORKS
from tests.passes.channels.small import check
from tests.passes.qat.scaling.scaled import changed

EVERY: dict[str, Callable[[], Model]] = {
    "densenet": lambda: from_proto(zoo.densenet()),
    "vgg": lambda: from_proto(zoo.vgg()),
    "mobilenet_v3": lambda: from_proto(zoo.mobilenet_v3()),
    **{name: NETWORKS[name] for name in ("vgg11_bn", "resnet18")},
}
BATCHES = (12, 12, 8)


def calibration(model: Model) -> ImageCalibration:
    images = [run.images(model, count, seed=seed) for seed, count in enumerate(BATCHES)]
    return ImageCalibration(lambda: images, 1)


def biased(model: Model) -> Model:
    """Quantised; what comes back of each weight is too small, of each activation moved: means and variances
    differ from those of the network without pairs."""
    after = pipeline.apply(model, recipe.parse("qat{calibration=max}"), calibration=calibration(model))
    for pair in graphs.quantizers(after.graph):
        name, (scale, zero) = pair.dequantize.name, (tensor.values for tensor in pair.dequantize.inputs[1:])
        if pair.weight is not None:
            pair.dequantize.inputs[1] = gs.Constant(f"{name}.scale", scale * np.float32(0.9))
        else:
            pair.dequantize.inputs[2] = gs.Constant(f"{name}.zero", np.array(zero + 2, zero.dtype))
    return after


@pytest.mark.parametrize("name", EVERY)
def test_answers_come_nearer(name: str) -> None:
    model = EVERY[name]()
    after, seen = biased(model), calibration(model)
    exact = logits(model, seen)
    before = sqnr(exact, logits(after, seen))
    (note,) = reestimate(after, model, seen)
    count = sum(node.op == "BatchNormalization" for node in after.graph.nodes)
    assert note.startswith(f"{count} BatchNormalization re-estimated: SQNR of the logits {before:.1f} -> ")
    assert sqnr(exact, logits(after, seen)) > before + 1
    check(after)


def inner(model: Model, name: str, images: np.ndarray) -> np.ndarray:
    """A tensor inside, float64."""
    inside = model.copy()
    inside.graph.outputs = [inside.graph.tensors()[name]]
    inside.graph.cleanup(remove_unused_graph_inputs=True)
    return run.outputs(inside, images)[name].astype(np.float64)


@pytest.mark.parametrize("name", ["densenet", "vgg", "mobilenet_v3"])
def test_one_pass_finds_what_layer_after_layer_would(name: str) -> None:
    model = EVERY[name]()
    steps, images = biased(model), run.images(model, 16)
    found = statistics(steps, model, ImageCalibration(lambda: [images], 1))
    for node in [node for node in steps.graph.nodes if node.op == "BatchNormalization"]:
        read = node.inputs[0].name
        quantized = inner(steps, read, images)
        exact = inner(model, read.removesuffix(".dequantized"), images)
        axes = (0, 2, 3)
        mean = node.inputs[MEAN].values + quantized.mean(axes) - exact.mean(axes)
        old, new = node.inputs[VARIANCE].values, quantized.var(axes)
        variance = old * (1 + (new - exact.var(axes)) / np.maximum(exact.var(axes), 0.1 * old + 1e-5))
        deviation = np.sqrt(node.inputs[VARIANCE].values)
        new_mean, new_variance = found[node.outputs[0].name]
        # Roundings of activations that fall to the other side: a few of thousands of values.
        np.testing.assert_allclose(new_mean, mean, rtol=0, atol=0.02 * deviation.max())
        np.testing.assert_allclose(new_variance, variance, rtol=0.03)
        node.inputs[MEAN].values = new_mean.astype(np.float32)
        node.inputs[VARIANCE].values = new_variance.astype(np.float32)


def test_a_layer_of_half_the_size_is_made_up_for() -> None:
    model = from_proto(zoo.densenet())
    after = pipeline.apply(model, recipe.parse("qat{calibration=max}"), calibration=calibration(model))
    constant = after.constants()["features.denseblock1.denselayer1.conv1.weight"]
    pair = next(pair for pair in graphs.quantizers(after.graph) if pair.weight is constant)
    constant.values, pair.scale.values = constant.values / 2, pair.scale.values / 2
    found = statistics(after, model, calibration(model))
    name = "/features/denseblock1/denselayer1/norm2/BatchNormalization_output_0"
    old = model.constants()["features.denseblock1.denselayer1.norm2.running_var"].values
    # 8 bits leave the variance within a percent.
    np.testing.assert_allclose(found[name][1], old / 4, rtol=0.05)


def test_without_an_error_nothing_moves() -> None:
    model = NETWORKS["vgg11_bn"]()
    found = statistics(model, model, calibration(model))
    constants = model.constants()
    assert len(found) == 8
    for node in model.graph.nodes:
        if node.op == "BatchNormalization":
            old = [constants[node.inputs[index].name].values for index in (MEAN, VARIANCE)]
            # The two sums are equal; one float32 rounding.
            np.testing.assert_allclose(found[node.outputs[0].name], old, rtol=1e-6)


def test_it_is_left_out_where_it_would_not_help() -> None:
    model = from_proto(zoo.densenet())
    seen = calibration(model)
    after = pipeline.apply(model, recipe.parse("qat{calibration=max}"), calibration=seen)
    # Other images while the statistics are measured, which the first of its passes does.
    calls = iter(range(100))
    wrong = [images * 50 + 20 for images in seen.batches()]
    misled = ImageCalibration(lambda: wrong if next(calls) == 0 else seen.batches(), 1)
    unchanged = after.copy()
    (note,) = reestimate(after, model, misled)
    assert note.startswith("BatchNormalization not re-estimated, it would not help: SQNR of the logits ")
    assert not changed(unchanged, after)


@pytest.mark.parametrize("name", ["resnet", "mlp"])
def test_nothing_to_reestimate(name: str) -> None:
    model = from_proto(zoo.ALL[name]())
    assert reestimate(model, model, run.Observed()) == ("there is no BatchNormalization to re-estimate",)


def test_values_of_the_original_are_not_written_into() -> None:
    model = from_proto(zoo.densenet())
    after = biased(model)
    before = {name: constant.values.copy() for name, constant in after.constants().items()}
    copy = after.copy()
    reestimate(copy, model, calibration(model))
    assert changed(after, copy)
    for name, constant in after.constants().items():
        np.testing.assert_array_equal(constant.values, before[name])
