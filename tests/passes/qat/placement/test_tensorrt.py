"""Where TensorRT wants Q/DQ: the rules of its developer guide, one by one."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import model as models
from onnxcomp.model import Model
from onnxcomp.passes.qat.placement import Placement, Switches
from onnxcomp.passes.qat.placement.tensorrt import place
from tests import classifiers, means, zoo
from tests.builder import Builder, conv, head


def placed(model: Model, **switches: object) -> Placement:
    return place(model.graph, Switches(**switches))  # type: ignore[arg-type]


def readers(found: Placement, tensor: str) -> list[str]:
    return [node.op for node in found.sites[tensor].readers]


def residual(*, downsample: bool, width: int = 16) -> Model:
    """A block of two convolutions with an Add; with ``downsample`` the other branch is a convolution too."""
    net = Builder(0)
    x = conv(net, "input", "stem", 3, width)
    x = net.node("Relu", [x], "start")
    y = conv(net, x, "one", width, width)
    y = net.node("Relu", [y], "middle")
    y = conv(net, y, "two", width, width)
    other = conv(net, x, "down", width, width, kernel=1) if downsample else x
    x = net.node("Relu", [net.node("Add", [y, other], "sum")], "end")
    return models.from_proto(net.model(head(net, x, "fc", width, 10), 17, ("N", 3, 8, 8), 10))


def test_the_identity_of_a_residual_is_quantised_and_the_convolution_before_add_is_not() -> None:
    found = placed(residual(downsample=False))
    assert readers(found, "start") == ["Conv", "Add"]
    assert found.sites["start"].reasons == ["inputs of layers", "identity inputs of residual Add"]
    assert len(found.sites) == len([*found.layers, "pool"])
    assert "Add" not in readers(placed(residual(downsample=False), residual=False), "start")


def test_of_two_convolutions_before_add_the_longer_way_stays_unquantised() -> None:
    model = residual(downsample=True)
    found = placed(model)
    by_name = {node.name: node for node in model.graph.nodes}
    add = next(node for node in by_name.values() if node.op == "Add")
    shorter = [t for t in add.inputs if t.name in found.sites]
    assert [tensor.inputs[0].inputs[1].name for tensor in shorter] == ["down.weight"]


@pytest.mark.parametrize("mode", ["shared", "each", "none"])
def test_concats_of_a_dense_block(mode: str) -> None:
    model = classifiers.network("densenet121")
    found = placed(model, concat=mode)
    joins = [node for node in model.graph.nodes if node.op == "Concat"]
    parts = {tensor.name for node in joins for tensor in node.inputs}
    quantized = {name for name, site in found.sites.items() if "inputs of Concat" in site.reasons}
    assert quantized == (set() if mode == "none" else parts)
    groups = [group for group in found.groups() if len(group) > 1]
    assert len(groups) == (4 if mode == "shared" else 0)
    if mode == "shared":  # 6, 12, 24 and 16 layers and what comes into each block
        assert sorted(len(group) for group in groups) == [7, 13, 17, 25]
        first = next(node for node in joins if len(node.inputs) == 2)
        assert "BatchNormalization" in readers(found, first.inputs[0].name)


def test_nothing_stands_between_a_convolution_and_what_is_fused_into_it() -> None:
    for name in ("resnet18", "vgg11_bn", "mobilenet_v2"):
        model = classifiers.network(name)
        for site in placed(model).sites.values():
            before = site.tensor.inputs[0].op if site.tensor.inputs else ""
            others = {node.op for node in site.readers}
            assert not (before == "Conv" and others & {"BatchNormalization", "Relu", "Clip"})
            assert not (before == "BatchNormalization" and others & {"Relu", "Clip"})


def test_average_pooling_is_quantised_on_both_sides_or_not_at_all() -> None:
    model = classifiers.network("resnet18")
    pool = next(node for node in model.graph.nodes if node.op == "GlobalAveragePool")
    assert readers(placed(model), pool.inputs[0].name) == ["GlobalAveragePool"]
    for switches in ({"pooling": False}, {"last": False}):  # nobody reads it quantised without the last layer
        assert pool.inputs[0].name not in placed(model, **switches).sites


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("name", ["resnet", "mobilenet", "mobilenet_v3"])
def test_the_mean_over_height_and_width_is_average_pooling(name: str, opset: int) -> None:
    build = {**zoo.ALL, **zoo.MORE}[name]
    model = models.from_proto(means.with_mean(build(opset), keepdims=name == "mobilenet_v3"))
    mean = [node for node in model.graph.nodes if node.op == "ReduceMean"][-1]  # a gate's, in MobileNetV3
    assert "ReduceMean" in readers(placed(model), mean.inputs[0].name)
    for switches in ({"pooling": False}, {"exclude": ("*",)}):
        site = placed(model, **switches).sites.get(mean.inputs[0].name)
        assert site is None or mean not in site.readers


@pytest.mark.parametrize("last", [True, False])
def test_pooling_before_pooling_is_quantised_with_it(last: bool) -> None:
    net = Builder(0)
    x = net.node("Relu", [conv(net, "input", "stem", 3, 16)], "start")
    x = net.node("AveragePool", [x], "smaller", kernel_shape=[2, 2], strides=[2, 2])
    model = models.from_proto(net.model(head(net, x, "fc", 16, 10), 17, ("N", 3, 8, 8), 10))
    quantized = {"start", "smaller", "/Flatten_output_0"} if last else set()
    assert placed(model, last=last).sites.keys() == {"input", *quantized}


@pytest.mark.parametrize("axes", [[1], [2], [1, 2, 3], [0, 2, 3]])
def test_other_means_are_not(axes: list[int]) -> None:
    net = Builder(0)
    mean = net.node("ReduceMean", [conv(net, "input", "stem", 3, 16)], "mean", axes=axes, keepdims=1)
    weight = net.constant("weight", net.he(10, 1 if 1 in axes else 16, 1, 1))
    x = net.node("GlobalMaxPool", [net.node("Conv", [mean, weight], "last")], "largest")
    x = net.node("Flatten", [x], "flat")
    model = models.from_proto(net.model(x, 17, (1, 3, 8, 8), 10))
    assert mean in placed(model).sites
    (node,) = (node for node in model.graph.nodes if node.op == "ReduceMean")
    assert not placed(model).reads(node)


def test_standalone_batch_normalization_stays_float_unless_asked() -> None:
    model = models.from_proto(zoo.densenet())
    left = [one for one in placed(model).left if one.op == "BatchNormalization"]
    assert len(left) == 6
    assert all("gamma is never quantised" in one.reason for one in left)
    found = placed(model, pre_activation=True)
    read = [node for site in found.sites.values() for node in site.readers if node.op == "BatchNormalization"]
    assert len(read) == 6
    assert not [one for one in found.left if one.op == "BatchNormalization"]


def test_attention_keeps_normalisation_and_softmax_float() -> None:
    found = placed(classifiers.network("vit"), concat="shared")
    assert {one.op for one in found.left} == {"LayerNormalization", "Softmax"}
    assert all(site.reasons == ["inputs of layers"] for site in found.sites.values())


@pytest.mark.parametrize("gate", ["Sigmoid", "HardSwish"])
def test_a_depthwise_convolution_with_a_gate_stays_float(gate: str) -> None:
    net = Builder(0)
    x = conv(net, "input", "stem", 3, 16)
    weight = net.constant("depth.weight", net.he(16, 1, 3, 3))
    y = net.node("Conv", [x, weight], "depth", "depth", group=16, pads=[1, 1, 1, 1])
    z = net.node(gate, [y], "gate")
    x = z if gate == "HardSwish" else net.node("Mul", [y, z], "gated")
    model = models.from_proto(net.model(head(net, x, "fc", 16, 10), 17, ("N", 3, 8, 8), 10))
    left = {one.node: one.reason for one in placed(model).left}
    assert left == {"depth": f"TensorRT has no INT8 kernel for a depthwise convolution with {gate}"}


def test_switches() -> None:
    model = classifiers.network("mobilenet_v2")
    depthwise = [one for one in placed(model, depthwise=False).left if one.op == "Conv"]
    assert len(depthwise) == 17
    small = placed(model, tiny=False)
    shapes = [layer.tensor.shape for layer in small.layers if layer.node.op == "Conv"]
    assert min(int(np.max([shape[0], 16])) for shape in shapes) >= 16
    assert all(shape[0] >= 16 for shape in shapes)
    assert [one.reason for one in placed(model, exclude=("classifier*",)).left] == ["qat.exclude names it"]
