"""Which layers `first=false` and `last=false` mean, whatever stands between them and the ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxcomp import graphs
from onnxcomp import model as models
from onnxcomp.model import Model
from onnxcomp.passes.base import Placement as Name
from onnxcomp.passes.qat.placement import Switches, place
from tests import classifiers, zoo
from tests.builder import Builder, batch_norm, conv, head

RUNTIMES: tuple[Name, ...] = ("tensorrt", "ort-cpu")
CLASSES = 10


def left(model: Model, runtime: Name, **switches: bool) -> list[str]:
    found = place(model.graph, runtime, Switches(**switches))  # type: ignore[arg-type]
    assert not [line for line in found.lines() if "nothing float" in line]
    return [one.node for one in found.left if one.reason in ("qat.first=false", "qat.last=false")]


def per_channel(net: Builder, name: str, low: float) -> str:
    return net.constant(name, net.rng.uniform(low, 1, (1, 3, 1, 1)).astype(np.float32))


def normalised(net: Builder) -> str:
    x = net.node("Sub", ["input", per_channel(net, "mean", -1)], "centred")
    return net.node("Div", [x, per_channel(net, "deviation", 0.5)], "normalised")


def scaled(net: Builder) -> str:
    """The constant first, as in 2 * x - 1."""
    x = net.node("Mul", [net.constant("two", np.array(2, np.float32)), "input"], "twice")
    return net.node("Add", [x, net.constant("minus", np.array(-1, np.float32))], "symmetric")


def padded(net: Builder) -> str:
    pads = net.constant("pads", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    return net.node("Pad", [net.node("Relu", ["input"], "positive"), pads], "padded")


def swapped(net: Builder) -> str:
    order = net.constant("order", np.array([2, 1, 0], np.int64))
    return net.node("Gather", ["input", order], "bgr", axis=1)


def by_channel(net: Builder) -> str:
    """As torchvision's GoogLeNet transforms its input."""
    parts = []
    for index in range(3):
        which = net.constant(f"index{index}", np.array([index], np.int64))
        x = net.node("Gather", ["input", which], f"channel{index}", axis=1)
        parts.append(
            net.node("Mul", [x, net.constant(f"factor{index}", np.array(0.5, np.float32))], f"part{index}")
        )
    return net.node("Concat", parts, "transformed", axis=1)


def pooled(net: Builder) -> str:
    x = batch_norm(net, "input", "norm", 3)
    return net.node("AveragePool", [x], "smaller", kernel_shape=[2, 2], strides=[2, 2])


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("start", [normalised, scaled, padded, swapped, by_channel, pooled])
def test_what_prepares_the_image_is_passed(start: Callable[[Builder], str], runtime: Name) -> None:
    net = Builder(0)
    x = net.node("Relu", [conv(net, start(net), "stem", 3, 16)], "active")
    x = conv(net, x, "second", 16, 16)
    model = models.from_proto(net.model(head(net, x, "fc", 16, CLASSES), 17, ("N", 3, 8, 8), CLASSES))
    assert left(model, runtime, first=False) == ["/stem/Conv"]


def flattened(net: Builder, x: str) -> str:
    return net.node("Flatten", [x], "flat")


def reshaped(net: Builder, x: str) -> str:
    """``x.view(x.size(0), -1)``: its shape is read too."""
    size = net.node("Gather", [net.node("Shape", [x], "shape"), net.constant("zero", np.array([0]))], "size")
    shape = net.node("Concat", [size, net.constant("rest", np.array([-1]))], "new", axis=0)
    return net.node("Reshape", [x, shape], "flat")


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("behind", ["", "Relu", "Softmax"])
@pytest.mark.parametrize("mean", ["pooling", "reshaped", "ReduceMean"])
def test_a_classifier_that_is_a_convolution_is_the_last(mean: str, behind: str, runtime: Name) -> None:
    """SqueezeNet and Network in Network: a logit is the mean of a map."""
    net = Builder(0)
    x = net.node("Relu", [conv(net, "input", "stem", 3, 16)], "active")
    x = conv(net, x, "classifier", 16, CLASSES, kernel=1, bias=True)
    x = net.node("Relu", [x], "positive") if behind == "Relu" else x
    if mean == "ReduceMean":
        x = net.node("ReduceMean", [x], "means", axes=[2, 3], keepdims=0)
    else:
        x = net.node("GlobalAveragePool", [x], "means")
        x = reshaped(net, x) if mean == "reshaped" else flattened(net, x)
    x = net.node("Softmax", [x], "probabilities", axis=1) if behind == "Softmax" else x
    model = models.from_proto(net.model(x, 17, ("N", 3, 8, 8), CLASSES))
    assert left(model, runtime, last=False) == ["/classifier/Conv"]


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", [*zoo.ALL, *zoo.MORE, *classifiers.ARCHITECTURES])
def test_of_each_architecture_it_is_one_layer(name: str, runtime: Name) -> None:
    build = {**zoo.ALL, **zoo.MORE}.get(name)
    model = models.from_proto(build()) if build else classifiers.network(name)
    layers = [weight.node.name for weight in graphs.weights(model.graph)]
    assert left(model, runtime, first=False) == layers[:1]
    assert left(model, runtime, last=False) == layers[-1:]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_matches_nothing_is_said(runtime: Name) -> None:
    net = Builder(0)
    x = conv(net, net.node("Exp", ["input"], "grown"), "stem", 3, 16)
    x = head(net, x, "fc", 16, CLASSES)
    x = net.node("Mul", [x, net.node("Sigmoid", [x], "gate")], "gated")
    model = models.from_proto(net.model(x, 17, ("N", 3, 8, 8), CLASSES))
    found = place(model.graph, runtime, Switches(first=False, last=False))
    assert len(found.layers) == 2
    assert found.lines()[-2:] == [
        "qat.first=false leaves nothing float: no layer reads the image; name it in qat.exclude",
        "qat.last=false leaves nothing float: no layer alone gives the logits; name it in qat.exclude",
    ]
    assert place(model.graph, runtime, Switches()).notes == []
