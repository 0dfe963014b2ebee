"""The networks that pruning is shown on, at reduced width, with random but sane weights.

Images are 3x32x32 and there are ten classes. Parameters have torchvision's names, where it has the network.
BatchNormalization is not the identity: its scale, shift, mean and variance are drawn, so that what
forgets one of them is found. ``FOLDED`` are those with BatchNormalization folded into their
convolutions, as exporters write networks in eval mode.

Each entry is called for a fresh model, equal every time: what a test changes no other test sees.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np
import onnx
from onnx import numpy_helper

from onnxcomp.deploy.fold_bn import fold_bn
from onnxcomp.model import Model, from_proto
from onnxcomp.models.base import Architecture
from onnxcomp.models.densenet import DenseNet
from onnxcomp.models.resnet import ResNet
from onnxcomp.models.vgg import VGG
from tests import run

SIZE, CLASSES = 32, 10

ARCHITECTURES: dict[str, Callable[[], Architecture]] = {
    "vgg11_bn": lambda: VGG((1, 1, 2, 2, 2), stem="cifar", widths=(16, 32, 48, 64, 64)),
    "resnet18": lambda: ResNet((2, 2, 2, 2), stem="cifar", features=16),
    "densenet121": lambda: DenseNet(growth=8, blocks=(6, 12, 24, 16), features=16),
    "densenet201": lambda: DenseNet(growth=4, blocks=(6, 12, 48, 32), features=16),
}
WITH_NORM = ("vgg11_bn", "resnet18", "densenet121", "densenet201")


@cache
def _proto(name: str) -> onnx.ModelProto:
    net = ARCHITECTURES[name]()
    proto = net.proto(name, num_classes=CLASSES, input_size=SIZE, stem=net.stem, seed=7)
    rng = np.random.default_rng(11)
    norms = {node.name for node in proto.graph.node if node.op_type == "BatchNormalization"}
    for tensor in proto.graph.initializer:
        layer, _, kind = tensor.name.rpartition(".")
        shape = tuple(tensor.dims)
        if kind == "bias":
            values = rng.normal(0, 0.1, shape)
        elif layer in norms:
            values = rng.normal(0, 0.1, shape) if kind == "running_mean" else rng.uniform(0.5, 1.5, shape)
        else:
            continue
        _set(tensor, values)
    _spread_logits(proto)
    return proto


def _spread_logits(proto: onnx.ModelProto) -> None:
    """Make images differ: each logit gets mean 0 and deviation 0.5 over random images."""
    model = from_proto(proto)
    logits = run.logits(model, run.images(model, 64)).astype(np.float64)
    mean, deviation = logits.mean(0), logits.std(0) * 2
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
