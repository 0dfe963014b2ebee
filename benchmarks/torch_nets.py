"""DenseNet, ResNet and VGG in plain PyTorch, as its users write them, with the weights of an ONNX export.

Module names are torchvision's. What enters a convolution or a Linear layer passes a module of its own
(``q``, ``q1``, ...), which does nothing until :mod:`torch_compression` puts a fake quantiser there.
``forward(x, taps)`` appends the pre-activations that the activation-boundary loss reads to ``taps``.
"""

# ruff: noqa: TID253, N812 - needs PyTorch by its nature, and calls it as its users do

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

Taps = list[Tensor] | None
WEIGHTED = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)


def tapped_relu(x: Tensor, taps: Taps) -> Tensor:
    """Relu of a pre-activation that a loss may read: in place where nobody does."""
    if taps is None:
        return F.relu(x, inplace=True)
    taps.append(x)
    return F.relu(x)


class DenseLayer(nn.Module):
    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(width)
        self.q1 = nn.Identity()
        self.conv1 = nn.Conv2d(width, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.q2 = nn.Identity()
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, parts: list[Tensor]) -> Tensor:
        x = F.relu(self.norm1(torch.cat(parts, 1)), inplace=True)
        x = F.relu(self.norm2(self.conv1(self.q1(x))), inplace=True)
        return self.conv2(self.q2(x))


class DenseBlock(nn.ModuleDict):
    def __init__(self, layers: int, width: int, growth: int) -> None:
        super().__init__()
        for index in range(layers):
            self[f"denselayer{index + 1}"] = DenseLayer(width + index * growth, growth)

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for layer in self.values():
            parts.append(layer(parts))
        return torch.cat(parts, 1)


class Transition(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.q = nn.Identity()
        self.conv = nn.Conv2d(width, width // 2, 1, bias=False)

    def forward(self, x: Tensor, taps: Taps) -> Tensor:
        x = tapped_relu(self.norm(x), taps)
        return F.avg_pool2d(self.conv(self.q(x)), 2)


class DenseNet(nn.Module):
    def __init__(self, growth: int, blocks: Sequence[int], width: int, stem: str, classes: int) -> None:
        super().__init__()
        self.features = nn.Module()
        self.small = stem == "cifar"
        kernel, stride, pad = (3, 1, 1) if self.small else (7, 2, 3)
        self.features.q = nn.Identity()
        self.features.conv0 = nn.Conv2d(3, width, kernel, stride, pad, bias=False)
        self.features.norm0 = nn.BatchNorm2d(width)
        self.stages = []
        for number, layers in enumerate(blocks, start=1):
            block = DenseBlock(layers, width, growth)
            self.features.add_module(f"denseblock{number}", block)
            self.stages.append(block)
            width += layers * growth
            if number < len(blocks):
                transition = Transition(width)
                self.features.add_module(f"transition{number}", transition)
                self.stages.append(transition)
                width //= 2
        self.features.norm5 = nn.BatchNorm2d(width)
        self.q = nn.Identity()
        self.classifier = nn.Linear(width, classes)

    def forward(self, x: Tensor, taps: Taps = None) -> Tensor:
        x = self.features.conv0(self.features.q(x))
        x = F.relu(self.features.norm0(x), inplace=True)
        if not self.small:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in self.stages:
            x = stage(x, taps) if isinstance(stage, Transition) else stage(x)
        x = tapped_relu(self.features.norm5(x), taps)
        return self.classifier(self.q(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)))


class BasicBlock(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.q1 = nn.Identity()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.q2 = nn.Identity()
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride > 1 or inputs != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor, taps: Taps) -> Tensor:
        quantized = self.q1(x)
        y = F.relu(self.bn1(self.conv1(quantized)), inplace=True)
        y = self.bn2(self.conv2(self.q2(y)))
        y += x if self.downsample is None else self.downsample(quantized)
        return tapped_relu(y, taps)


class ResNet(nn.Module):
    def __init__(self, blocks: Sequence[int], stem: str, classes: int) -> None:
        super().__init__()
        self.small = stem == "cifar"
        kernel, stride, pad = (3, 1, 1) if self.small else (7, 2, 3)
        self.q = nn.Identity()
        self.conv1 = nn.Conv2d(3, 64, kernel, stride, pad, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for stage, count in enumerate(blocks, start=1):
            width = 64 << (stage - 1)
            layers = nn.ModuleList()
            for number in range(count):
                layers.append(BasicBlock(inputs, width, 2 if stage > 1 and number == 0 else 1))
                inputs = width
            self.add_module(f"layer{stage}", layers)
        self.qfc = nn.Identity()
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: Tensor, taps: Taps = None) -> Tensor:
        x = F.relu(self.bn1(self.conv1(self.q(x))), inplace=True)
        if not self.small:
            x = F.max_pool2d(x, 3, 2, 1)
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for number, block in enumerate(stage, start=1):
                x = block(x, taps if number == len(stage) else None)
        return self.fc(self.qfc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1)))


class VGG(nn.Module):
    def __init__(self, convolutions: Sequence[int], stem: str, classes: int) -> None:
        super().__init__()
        self.features, self.q, width = nn.ModuleList(), nn.ModuleDict(), 3
        self.tapped = set()
        for outputs, count in zip((64, 128, 256, 512, 512), convolutions, strict=True):
            for _ in range(count):
                self.q[str(len(self.features))] = nn.Identity()
                self.features.append(nn.Conv2d(width, outputs, 3, padding=1))
                self.features.append(nn.BatchNorm2d(outputs))
                self.features.append(nn.ReLU(inplace=True))
                width = outputs
            if count > 1:
                self.tapped.add(len(self.features) - 1)
            self.features.append(nn.MaxPool2d(2))
        if stem == "cifar":
            self.pool, linear = nn.AdaptiveAvgPool2d(1), [nn.Linear(width, classes)]
            self.classifier = linear[0]
        else:
            self.pool = nn.AdaptiveAvgPool2d(7)
            linear = [nn.Linear(width * 49, 4096), nn.Linear(4096, 4096), nn.Linear(4096, classes)]
            self.classifier = nn.ModuleDict(dict(zip("036", linear, strict=True)))
        self.head = linear
        self.qhead = nn.ModuleList(nn.Identity() for _ in linear)

    def forward(self, x: Tensor, taps: Taps = None) -> Tensor:
        for index, layer in enumerate(self.features):
            if isinstance(layer, nn.Conv2d):
                x = layer(self.q[str(index)](x))
            elif index in self.tapped:
                x = tapped_relu(x, taps)
            else:
                x = layer(x)
        x = torch.flatten(self.pool(x), 1)
        for index, (linear, quantizer) in enumerate(zip(self.head, self.qhead, strict=True)):
            x = linear(quantizer(F.relu(x, inplace=True) if index else x))
        return x


def net(name: str, stem: str, classes: int) -> nn.Module:
    """One of the networks that onnxcomp exports by this name, with PyTorch's own random weights."""
    if name == "densenet201":
        return DenseNet(32, (6, 12, 48, 32), 64, stem, classes)
    if name == "densenet-bc-40-12":
        return DenseNet(12, (6, 6, 6), 24, stem, classes)
    if name in ("resnet18", "resnet34"):
        return ResNet((2, 2, 2, 2) if name == "resnet18" else (3, 4, 6, 3), stem, classes)
    if name == "vgg11_bn":
        return VGG((1, 1, 2, 2, 2), stem, classes)
    raise ValueError(f"there is no PyTorch twin of {name}")


def load(module: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Take weights by PyTorch's names, as :func:`forms.parameters` gives them.

    A BatchNormalization without weights was folded away: it becomes an Identity, and its convolution
    gets a bias.
    """
    for name, kind in [(name, m) for name, m in module.named_modules() if isinstance(m, WEIGHTED)]:
        parent, _, child = name.rpartition(".")
        if isinstance(kind, nn.BatchNorm2d) and f"{name}.weight" not in arrays:
            setattr(module.get_submodule(parent), child, nn.Identity())
        elif kind.bias is None and f"{name}.bias" in arrays:
            kind.bias = nn.Parameter(torch.empty(len(arrays[f"{name}.bias"])))
    state = {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
    missing, unexpected = module.load_state_dict(state, strict=False)
    lost = [name for name in missing if not name.endswith("num_batches_tracked")]
    if lost or unexpected:
        raise ValueError(f"not the weights of this network: {lost} missing, {unexpected} unexpected")
