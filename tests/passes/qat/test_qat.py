"""Where Q/DQ stands and that it means what the specification says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp import model as models
from onnxcomp import recipe as recipes
from onnxcomp.errors import PassError
from tests import run, zoo
from tests.builder import Builder


def quantized(network: str, recipe: str = "qat") -> models.Model:
    return pipeline.apply(
        models.from_proto(zoo.ALL[network]()), recipes.parse(recipe), calibration=run.Observed()
    )


@pytest.mark.parametrize("network", zoo.ALL)
def test_rules_of_the_tensorrt_parser(network: str) -> None:
    model = quantized(network)
    pairs = list(graphs.quantizers(model.graph))
    assert pairs
    for pair in pairs:
        for node in (pair.quantize, pair.dequantize):
            assert len(node.inputs) == 3
            scale, zero_point = node.inputs[1].values, node.inputs[2].values
            assert scale.dtype == np.float32
            assert (scale > 0).all()
            assert zero_point.dtype == np.int8
            assert zero_point.shape == scale.shape
            assert not zero_point.any()
        assert len(pair.quantize.outputs[0].outputs) == 1
        assert pair.per_channel == (pair.weight is not None)
        if pair.weight is not None:
            assert pair.quantize.attrs["axis"] == pair.dequantize.attrs["axis"]
            assert len(pair.scale.values) == pair.weight.shape[pair.axis]
    for weight in graphs.weights(model.graph):
        node = weight.node
        assert node.inputs[0].inputs[0].op == "DequantizeLinear"
        assert node.inputs[1].inputs[0].op == "DequantizeLinear"
        assert all(not tensor.inputs for tensor in node.inputs[2:]), "a bias is never quantised"


def test_a_tensor_with_several_readers_is_quantised_once() -> None:
    model = quantized("resnet")
    sources = [pair.source.name for pair in graphs.quantizers(model.graph)]
    assert len(sources) == len(set(sources))
    shared = [p for p in graphs.quantizers(model.graph) if len(p.dequantize.outputs[0].outputs) == 2]
    assert shared, "the ResNet's downsampling block reads one tensor twice"


def test_excluded_layers_stay_float() -> None:
    model = quantized("resnet", 'qat{exclude=["onnx::Conv_123","fc*"]}')
    float_layers = [w.name for w in graphs.weights(model.graph) if w.node.inputs[1].name == w.name]
    assert sorted(float_layers) == ["fc.weight", "onnx::Conv_123"]


def test_weights_behind_masks_are_scaled_by_what_is_left() -> None:
    first = pipeline.apply(models.from_proto(zoo.resnet()), recipes.parse("prune"))
    for mask in graphs.masks(first.graph).values():
        mask.values = (np.arange(mask.values.size) % 2).reshape(mask.shape).astype(np.float32)
    second = pipeline.apply(first, recipes.parse("qat"), calibration=run.Observed())
    masks = graphs.masks(second.graph)
    for pair in graphs.quantizers(second.graph):
        if pair.weight is not None and pair.weight.name in masks:
            left = np.abs(pair.weight.values * masks[pair.weight.name].values)
            axes = tuple(i for i in range(left.ndim) if i != pair.axis)
            np.testing.assert_allclose(pair.scale.values, left.max(axis=axes) / 127, rtol=1e-6)


def test_int8_answers_stay_close() -> None:
    model = models.from_proto(zoo.densenet())
    images = run.images(model, 16, seed=1)
    before, after = run.logits(model, images), run.logits(quantized("densenet"), images)
    # SQNR above 25 dB: 8 bits over a dozen layers of random weights (peers measure 18 to 35 dB).
    assert 10 * np.log10((before**2).sum() / ((before - after) ** 2).sum()) > 25


def test_weights_without_an_integer_kernel_stay_float() -> None:
    def mlp(write: Callable[[Builder, str], str], features: int) -> models.Model:
        net = Builder(0)
        x = write(net, net.node("Flatten", ["input"], "flat", axis=1))
        last = net.constant("last", net.he(features, 10))
        return models.from_proto(net.model(net.node("MatMul", [x, last], "product"), 17, ("N", 3, 4, 4), 10))

    def transposed(net: Builder, x: str) -> str:
        weight = net.constant("tied", net.he(8, 48))
        x = net.node("Gemm", [x, weight], "down", "down", transB=1)
        return net.node("Gemm", [x, weight], "up", "up")

    def three_axes(net: Builder, x: str) -> str:
        shape = net.constant("shape", np.array([0, 4, 12]))
        x = net.node("Reshape", [x, shape], "parts", "parts")
        x = net.node("MatMul", [x, net.constant("batched", net.he(4, 12, 5)[:1])], "each", "each")
        return net.node("Flatten", [x], "together", "together", axis=1)

    for model, node, reason in (
        (mlp(transposed, 48), "up", "another node uses its weight tied transposed"),
        (mlp(three_axes, 20), "each", "its weight has 3 axes"),
    ):
        steps: list[pipeline.Step] = []
        left = pipeline.apply(model, recipes.parse("qat"), calibration=run.Observed(), report=steps.append)
        assert any(node in note and reason in note for note in steps[0].change.notes)
        images = run.images(left)
        # The integer kernels, which only the optimised graph has, agree with the plain one.
        plain, fused = (run.outputs(left, images, optimize=o)["output"] for o in (False, True))
        np.testing.assert_allclose(fused, plain, atol=0.02 * np.abs(plain).max())


def test_a_weight_that_a_float_layer_reads_too_is_not_clipped() -> None:
    net = Builder(0)
    weight = net.he(8, 8, 3, 3)
    weight[:, 0, 0, 0] *= 6  # what a scale of least squared error at 4 bits clips
    net.constant("w", weight)
    read = "input"
    for name, values in (("a", net.constant("a.w", net.he(8, 3, 3, 3))), ("b", "w"), ("c", "w")):
        made = net.node("Conv", [read, values], f"{name}.made", name, kernel_shape=[3, 3], pads=[1] * 4)
        read = net.node("Relu", [made], f"{name}.active")
    flat = net.node("Flatten", [net.node("GlobalAveragePool", [read], "pooled")], "flat")
    logits = net.node("Gemm", [flat, net.constant("d.w", net.he(5, 8))], "logits", transB=1)
    model = models.from_proto(net.model(logits, 17, ("N", 3, 8, 8), 5))
    for exclude, kept in (("", False), ('exclude=["c"]', True)):
        text = f"qat{{weights=mse weight_bits=4 {exclude}}}"
        after = pipeline.apply(model, recipes.parse(text), calibration=run.Observed())
        # A scale of its largest weight leaves each as it is, but for float32 rounding.
        assert np.allclose(after.constants()["w"].values, weight, rtol=1e-6, atol=0) == kept


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("network", ["resnet", "mobilenet"])
def test_weights_that_are_not_finite_are_refused_by_name(network: str, value: float) -> None:
    model = models.from_proto({**zoo.ALL, **zoo.MORE}[network]())
    weight = list(graphs.weights(model.graph))[1]
    values = weight.tensor.values.copy()
    values.flat[3] = value
    weight.tensor.values = values
    with pytest.raises(PassError) as caught:
        pipeline.apply(model, recipes.parse("qat"), calibration=run.Observed())
    assert str(caught.value) == f"qat: node {weight.node.name}: {weight.name} is not finite; train it again"
