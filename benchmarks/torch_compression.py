"""The plain and the full compression step in PyTorch eager, written the way its users write them.

Full: weights times masks, ``torch.ao`` fake quantisers (weights per output channel with a min-max
observer that refreshes the scales each step, activations per tensor with the observer off after
calibration), a frozen teacher under ``no_grad``, soft targets, activation boundaries, SGD with Nesterov
momentum, and the masks again after the update. Masks, scales and options are those of onnxcomp's
compression form, so both sides compute the same losses. Nothing of onnxcomp is imported.
"""

# ruff: noqa: TID253, N812 - needs PyTorch by its nature, and calls it as its users do

from __future__ import annotations

import copy
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_nets import load, net

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch.ao.quantization announces its successor on import
    from torch.ao.quantization import (
        FakeQuantize,
        FusedMovingAvgObsFakeQuantize,
        MovingAverageMinMaxObserver,
        MovingAveragePerChannelMinMaxObserver,
    )

Arrays = Mapping[str, NDArray[Any]]
VARIANTS = ("fused", "foreach", "channels_last", "fused_observer")


class CompressedConv2d(nn.Conv2d):
    """A convolution whose weight is masked, if it has a mask, and fake-quantised in the forward pass."""

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.mask is None else self.weight * self.mask
        return self._conv_forward(x, self.quantizer(weight), self.bias)


class CompressedLinear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.mask is None else self.weight * self.mask
        return F.linear(x, self.quantizer(weight), self.bias)


class PlainTorch:
    """Training of one network with the task loss alone.

    Args:
        network: ``name`` or ``name/stem``.
        arrays: weights, and for the full step masks, scales and options; see :mod:`forms`.
        variants: ways of PyTorch to be faster, of :data:`VARIANTS`: how the optimiser loops, the layout
            of images and weights, and the observer of the weights.
        lr: learning rate.
    """

    def __init__(self, network: str, arrays: Arrays, variants: Collection[str], lr: float) -> None:
        name, _, stem = network.partition("/")
        weights = {key: values for key, values in arrays.items() if ":" not in key}
        self.module = net(name, stem or "imagenet", len(weights[list(weights)[-1]]))
        load(self.module, weights)
        self.variants = variants
        self.prepare(arrays)
        if "channels_last" in variants:
            self.module.to(memory_format=torch.channels_last)
        self.module.train()
        matrices = [p for p in self.module.parameters() if p.dim() > 1]
        vectors = [p for p in self.module.parameters() if p.dim() <= 1]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": 1e-4},
            {"params": vectors, "weight_decay": 0},
        ]
        loops = {"foreach": "foreach" in variants, "fused": "fused" in variants}
        self.optimizer = torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True, **loops)

    def prepare(self, arrays: Arrays) -> None:
        """Nothing: the plain step trains the network as it is."""

    def losses(self, images: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(self.module(images), labels)

    def after_step(self) -> None:
        """Nothing: the plain step has no masks."""

    def step(self, images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        """One step, the optimiser's included; returns the loss before it."""
        x = torch.from_numpy(images)
        if "channels_last" in self.variants:
            x = x.contiguous(memory_format=torch.channels_last)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.losses(x, torch.from_numpy(labels))
        loss.backward()
        self.optimizer.step()
        self.after_step()
        return loss.item()


class FullTorch(PlainTorch):
    """The whole compression step."""

    def prepare(self, arrays: Arrays) -> None:
        options = {key: float(v) for key, v in arrays.items() if key.startswith("distill:")}
        self.temperature, self.alpha = options["distill:temperature"], options["distill:alpha"]
        self.beta, self.margin = options["distill:boundary"], options["distill:margin"]
        self.teacher = copy.deepcopy(self.module).eval().requires_grad_(False)
        if "channels_last" in self.variants:
            self.teacher.to(memory_format=torch.channels_last)
        for name, module in list(self.module.named_modules()):
            if type(module) in (nn.Conv2d, nn.Linear):
                module.__class__ = CompressedConv2d if isinstance(module, nn.Conv2d) else CompressedLinear
                module.quantizer = self._weight_quantizer()
                mask = arrays.get(f"mask:{name}")
                module.register_buffer("mask", None if mask is None else torch.from_numpy(np.array(mask)))
                if mask is not None:
                    module.weight.data.mul_(module.mask)
                self._quantize_input(name, arrays[f"scale:{name}"])

    def _quantize_input(self, layer: str, scale: NDArray[Any]) -> None:
        """Put a fake quantiser with its calibrated scale where the ONNX form has one."""
        quantizer = FakeQuantize(
            observer=MovingAverageMinMaxObserver,
            quant_min=-128,
            quant_max=127,
            dtype=torch.qint8,
            qscheme=torch.per_tensor_symmetric,
        )
        quantizer.scale.fill_(float(scale))
        quantizer.disable_observer()
        place = _quantizer_place(self.module, layer)
        if place is not None:
            parent, _, child = place.rpartition(".")
            setattr(self.module.get_submodule(parent), child, quantizer)

    def _weight_quantizer(self) -> FakeQuantize:
        """Scales are max |w| / 127 of each output channel, of this step's weights.

        The fused one spares small tensors their overhead, and rounds some weights to the next step.
        """
        fused = "fused_observer" in self.variants
        return (FusedMovingAvgObsFakeQuantize if fused else FakeQuantize)(
            observer=MovingAveragePerChannelMinMaxObserver,
            quant_min=-127,
            quant_max=127,
            dtype=torch.qint8,
            qscheme=torch.per_channel_symmetric,
            ch_axis=0,
            averaging_constant=1.0,
        )

    def losses(self, images: Tensor, labels: Tensor) -> Tensor:
        pre: list[Tensor] = []
        teacher_pre: list[Tensor] = []
        with torch.no_grad():
            teacher = self.teacher(images, teacher_pre)
        logits = self.module(images, pre)
        task = F.cross_entropy(logits, labels)
        soft = F.kl_div(
            F.log_softmax(logits / self.temperature, 1),
            F.log_softmax(teacher / self.temperature, 1),
            reduction="batchmean",
            log_target=True,
        )
        pairs = zip(pre, teacher_pre, strict=True)
        boundary = sum(_boundary(s, t, self.margin) for s, t in pairs) / len(pre)
        return (1 - self.alpha) * task + self.alpha * self.temperature**2 * soft + self.beta * boundary

    @torch.no_grad()
    def after_step(self) -> None:
        for module in self.module.modules():
            if isinstance(module, (CompressedConv2d, CompressedLinear)) and module.mask is not None:
                module.weight.mul_(module.mask)


def _boundary(student: Tensor, teacher: Tensor, margin: float) -> Tensor:
    """Heo et al. 2019, eq. 4, as a mean."""
    sign = torch.where(teacher > 0, 1.0, -1.0)
    return F.relu(margin - student * sign).square().mean()


# The quantiser's place in the module that holds the layer; a shortcut shares its block's.
_PLACES = {"conv": "q", "conv0": "q", "conv1": "q1", "conv2": "q2"}


def _quantizer_place(module: nn.Module, layer: str) -> str | None:
    parent, _, child = layer.rpartition(".")
    if hasattr(module, "qhead"):  # VGG
        if parent == "features":
            return f"q.{child}"
        return f"qhead.{int(child) // 3 if parent else 0}"
    if layer in ("classifier", "fc"):
        return "qfc" if layer == "fc" else "q"
    if not parent:  # a ResNet's stem
        return "q"
    if parent.endswith("downsample"):
        return None
    return f"{parent}.{_PLACES[child]}"
