"""Where corrections go, and that they arrive there."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.model import Model, from_proto
from onnxcomp.passes.qat import partial
from onnxcomp.passes.qat.bias_sites import sites
from tests import run, zoo
from tests.builder import Builder, batch_norm, conv
from tests.classifiers import NETWORKS
from tests.passes.channels.small import check, classifier, ending


def quantized(model: Model) -> Model:
    return pipeline.apply(model, recipe.parse("qat"), calibration=run.Observed())


def assert_added(model: Model, expected: dict[str, str]) -> None:
    """Each site shifts the output of its node by what it is given.

    Args:
        expected: the constant that takes it by the name of the node whose output is corrected.
    """
    found = {site.node.name: site for site in sites(model.graph)}
    assert set(found) == set(expected)
    for name, constant in expected.items():
        after = model.copy()
        site = next(site for site in sites(after.graph) if site.node.name == name)
        tensor = site.tensor.name
        channels = site.tensor.shape[site.axis]
        shift = np.random.default_rng(0).standard_normal(channels)
        site.add(shift, set(after.graph.tensors()))
        assert after.graph.tensors()[constant].shape[-1] == channels
        check(after)
        values = []
        for one in (model, after):
            inside = partial.only(one, ())
            inside.graph.outputs = [inside.graph.tensors()[tensor]]
            inside.graph.cleanup()
            values.append(run.outputs(inside, run.images(one))[tensor])
        shape = [-1 if axis == site.axis % values[0].ndim else 1 for axis in range(values[0].ndim)]
        # float32 sums of values below 100.
        np.testing.assert_allclose(
            values[1] - values[0], np.broadcast_to(shift.reshape(shape), values[0].shape), atol=1e-4
        )


def conv_bias(bias: bool) -> Callable[[Builder, str], str]:
    return lambda net, x: net.node("Relu", [conv(net, x, "a", 3, 4, bias=bias)], "y")


@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_has_its_bias_or_gets_one(bias: bool) -> None:
    model = quantized(classifier(conv_bias(bias), 4))
    name = "a.bias" if bias else "/a/Conv_output_0.bias"
    assert_added(model, {"/a/Conv": name, "/fc/Gemm": "fc.bias"})


def test_a_foldable_batch_normalisation_takes_it() -> None:
    def write(net: Builder, x: str) -> str:
        return net.node("Relu", [batch_norm(net, conv(net, x, "a", 3, 4), "norm", 4)], "y")

    model = quantized(classifier(write, 4))
    assert_added(model, {"/norm/BatchNormalization": "norm.bias", "/fc/Gemm": "fc.bias"})


def test_a_standalone_one_does_not() -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Relu", [conv(net, x, "a", 3, 4)], "y")
        return batch_norm(net, x, "norm", 4)

    assert_added(quantized(classifier(write, 4)), {"/a/Conv": "/a/Conv_output_0.bias", "/fc/Gemm": "fc.bias"})


@pytest.mark.parametrize("beta", [1.0, 0.5, 0.0])
def test_gemm_applies_a_factor_to_its_bias(beta: float) -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Flatten", [x], "flat")
        weight, bias = net.constant("w", net.small(108, 5)), net.constant("b", net.small(1, 5))
        return net.node("Gemm", [x, weight, bias], "y", "last", beta=beta, alpha=2.0)

    assert_added(quantized(ending(write)), {"last": "b"})


def test_matmul_has_an_add_behind_it_or_none() -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Flatten", [x], "flat")
        x = net.node("MatMul", [x, net.constant("first", net.small(108, 8))], "bare", "bare")
        x = net.node("MatMul", [x, net.constant("second", net.small(8, 5))], "product", "product")
        return net.node("Add", [net.constant("bias", net.small(5)), x], "sum", "sum")

    assert_added(quantized(ending(write)), {"sum": "bias"})


def test_a_bias_that_two_layers_share_gets_a_copy() -> None:
    def write(net: Builder, x: str) -> str:
        bias = net.constant("shared", net.small(4))
        for name, width in (("a", 3), ("b", 4)):
            x = net.node("Conv", [x, net.constant(name, net.he(4, width, 1, 1)), bias], f"{name}.y", name)
        return x

    model = quantized(classifier(write, 4))
    assert_added(model, {"a": "shared_1", "b": "shared_1", "/fc/Gemm": "fc.bias"})


def test_a_computed_bias_takes_none() -> None:
    def write(net: Builder, x: str) -> str:
        pooled = net.node("GlobalAveragePool", ["input"], "pooled")
        bias = net.node("Flatten", [pooled], "flat", axis=1)
        bias = net.node("Squeeze", [bias, net.constant("first", np.array([0]))], "bias")
        return net.node("Conv", [x, net.constant("w", net.he(3, 3, 1, 1)), bias], "y", "computed")

    model = quantized(classifier(write, 3, batch=1))
    assert [site.node.name for site in sites(model.graph)] == ["/fc/Gemm"]


def test_float_layers_have_no_site() -> None:
    model = from_proto(zoo.densenet())
    assert not list(sites(model.graph))
    part = pipeline.apply(model, recipe.parse('qat{exclude="classifier*"}'), calibration=run.Observed())
    names = [site.node.name for site in sites(part.graph)]
    assert "/classifier/Gemm" not in names
    assert "/features/denseblock1/denselayer1/norm2/BatchNormalization" in names


@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn", "resnet18", "mobilenet_v2", "densenet121", "vit"])
def test_every_layer_of_known_networks_has_one(name: str) -> None:
    model = quantized(NETWORKS[name]())
    layers = [weight.node.name for weight in graphs.weights(model.graph)]
    assert len(list(sites(model.graph))) == len(layers)
