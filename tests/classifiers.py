"""The networks that pruning is shown on, at reduced width, with random but sane weights.

Images are 3x32x32 and there are ten classes. Parameters have torchvision's names, where it has the
network. BatchNormalization is not the identity: its scale and shift are drawn, its statistics are those
of random images, disturbed, and biases are drawn too: what forgets one of them is found. ``FOLDED`` are
those with BatchNormalization folded into their convolutions, as exporters write networks in eval mode.

Each entry is called for a fresh model, equal every time: what a test changes no other test sees.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from onnxcomp import extras
from onnxcomp.fold_bn import fold_bn
from onnxcomp.model import Model, from_proto
from onnxcomp.models.alexnet import AlexNet
from onnxcomp.models.base import Architecture
from onnxcomp.models.densenet import DenseNet
from onnxcomp.models.lenet import LeNet
from onnxcomp.models.mobilenet import MobileNetV2
from onnxcomp.models.resnet import ResNet
from onnxcomp.models.vgg import VGG
from onnxcomp.models.vit import ViT
from tests import run

SIZE, CLASSES = 32, 10
NORMS = ("BatchNormalization", "LayerNormalization")

ARCHITECTURES: dict[str, Architecture] = {
    "lenet5": LeNet(),
    "alexnet": AlexNet(widths=(16, 32, 48, 32, 32), hidden=64, stem="cifar"),
    "vgg11_bn": VGG((1, 1, 2, 2, 2), stem="cifar", widths=(16, 32, 48, 64, 64)),
    "resnet18": ResNet((2, 2, 2, 2), stem="cifar", features=16),
    "mobilenet_v2": MobileNetV2(width_mult=0.25, stem="cifar"),
    "densenet121": DenseNet(growth=8, blocks=(6, 12, 24, 16), features=16),
    "densenet201": DenseNet(growth=4, blocks=(6, 12, 48, 32), features=16),
    "vit": ViT(patch_size=4, num_layers=4, num_heads=4, hidden_dim=32, mlp_dim=64, stem="cifar"),
}
WITH_NORM = ("vgg11_bn", "resnet18", "mobilenet_v2", "densenet121", "densenet201")


@cache
def _proto(name: str) -> onnx.ModelProto:
    net = ARCHITECTURES[name]
    proto = net.proto(name, num_classes=CLASSES, input_size=SIZE, stem=net.stem, seed=7)
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    rng = np.random.default_rng(11)
    for node in proto.graph.node:
        if node.op_type in NORMS:
            weight = tensors[node.input[1]]
            _set(weight, rng.uniform(0.5, 1.5, tuple(weight.dims)))
    for name, tensor in tensors.items():
        if name.endswith(("bias", "class_token")):
            _set(tensor, rng.normal(0, 0.1, tuple(tensor.dims)))
    for statistic, values in _statistics(proto).items():
        if statistic.endswith("var"):
            _set(tensors[statistic], values * rng.uniform(0.7, 1.4, values.shape))
        else:
            _set(tensors[statistic], values + rng.normal(0, 0.1, values.shape))
    _spread_logits(proto)
    return proto


def _statistics(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Mean and variance of what each BatchNormalization reads, by the names of its statistics."""
    measured = onnx.ModelProto()
    measured.CopyFrom(proto)
    graph, names = measured.graph, []
    del graph.node[:], graph.output[:]
    for node in proto.graph.node:
        if node.op_type == "BatchNormalization":
            graph.node.extend(_measure(node.input[0], *node.input[3:]))
            names += node.input[3:]
        graph.node.append(node)
    # A name that a node computes is no initializer.
    kept = [tensor for tensor in graph.initializer if tensor.name not in names]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    if not names:
        return {}
    session = extras.onnxruntime().InferenceSession(measured.SerializeToString())
    images = np.random.default_rng(1).standard_normal((32, 3, SIZE, SIZE), np.float32)
    return dict(zip(names, session.run(names, {"input": images}), strict=True))


def _measure(x: str, mean: str, variance: str) -> list[onnx.NodeProto]:
    """E[x] and E[x^2] - E[x]^2 of each channel."""
    axes: dict[str, Any] = {"axes": [0, 2, 3], "keepdims": 0}
    return [
        helper.make_node("ReduceMean", [x], [mean], **axes),
        helper.make_node("Mul", [x, x], [f"{variance}.square"]),
        helper.make_node("ReduceMean", [f"{variance}.square"], [f"{variance}.squares"], **axes),
        helper.make_node("Mul", [mean, mean], [f"{variance}.mean"]),
        helper.make_node("Sub", [f"{variance}.squares", f"{variance}.mean"], [variance]),
    ]


def _spread_logits(proto: onnx.ModelProto) -> None:
    """Make images differ: each logit gets mean 0 and deviation 0.1 over random images.

    Rounding is then a few 1e-6 of a logit at most, in the deepest of these networks.
    """
    model = from_proto(proto)
    logits = run.logits(model, run.images(model, 64)).astype(np.float64)
    mean, deviation = logits.mean(0), logits.std(0) * 10
    (last,) = (node for node in proto.graph.node if node.output[0] == "logits")
    weight, bias = (next(t for t in proto.graph.initializer if t.name == name) for name in last.input[1:])
    _set(weight, numpy_helper.to_array(weight) / deviation[:, np.newaxis])
    _set(bias, (numpy_helper.to_array(bias) - mean) / deviation)


def _set(tensor: onnx.TensorProto, values: np.ndarray) -> None:
    tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))


def network(name: str) -> Model:
    """A fresh model of one of :data:`ARCHITECTURES`, the same each time."""
    return from_proto(_proto(name), where=name)


def folded(name: str) -> Model:
    """The same with BatchNormalization folded."""
    model = network(name)
    if not fold_bn(model.graph).folded:
        raise AssertionError(f"{name} has nothing to fold")
    return model


NETWORKS: dict[str, Callable[[], Model]] = {name: partial(network, name) for name in ARCHITECTURES}
FOLDED: dict[str, Callable[[], Model]] = {name: partial(folded, name) for name in WITH_NORM}
