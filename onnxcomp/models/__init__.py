"""Networks that onnxcomp builds itself, as plain ONNX: a name, and what loads its architecture.

A loader imports its module only when the network is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from onnxcomp.errors import ModelError
from onnxcomp.models.base import MAX_CLASSES, MAX_INPUT_SIZE, STEMS, Architecture
from onnxcomp.nearest import meant

if TYPE_CHECKING:
    from onnxcomp.model import Model

__all__ = ["NAMES", "STEMS", "Architecture", "build", "default_input_size", "default_stem"]


def _densenet121() -> Architecture:
    from onnxcomp.models.densenet import DenseNet

    return DenseNet(growth=32, blocks=(6, 12, 24, 16), features=64)


def _densenet169() -> Architecture:
    from onnxcomp.models.densenet import DenseNet

    return DenseNet(growth=32, blocks=(6, 12, 32, 32), features=64)


def _densenet201() -> Architecture:
    from onnxcomp.models.densenet import DenseNet

    return DenseNet(growth=32, blocks=(6, 12, 48, 32), features=64)


def _densenet161() -> Architecture:
    from onnxcomp.models.densenet import DenseNet

    return DenseNet(growth=48, blocks=(6, 12, 36, 24), features=96)


def _densenet_bc_40_12() -> Architecture:
    from onnxcomp.models.densenet import DenseNet

    # 40 layers = stem, 3 blocks of (40 - 4) / 3 = 12 convolutions in 6 bottleneck layers,
    # 2 transitions, classifier; 2 * growth features after the stem.
    return DenseNet(growth=12, blocks=(6, 6, 6), features=24, stem="cifar")


def _resnet(blocks: tuple[int, int, int, int], *, bottleneck: bool = False) -> Architecture:
    from onnxcomp.models.resnet import ResNet

    return ResNet(blocks, bottleneck)


def _vgg(convolutions: tuple[int, int, int, int, int], *, batch_norm: bool) -> Architecture:
    from onnxcomp.models.vgg import VGG

    return VGG(convolutions, batch_norm)


def _lenet5() -> Architecture:
    from onnxcomp.models.lenet import LeNet

    return LeNet()


def _alexnet() -> Architecture:
    from onnxcomp.models.alexnet import AlexNet

    return AlexNet()


def _mobilenet_v2() -> Architecture:
    from onnxcomp.models.mobilenet import MobileNetV2

    return MobileNetV2()


def _vit_b_16() -> Architecture:
    from onnxcomp.models.vit import ViT

    return ViT()


def _vit_tiny() -> Architecture:
    from onnxcomp.models.vit import ViT

    # The widths of DeiT-Ti (Touvron et al. 2021, arXiv 2012.12877, table 1), patches for 32x32.
    return ViT(patch_size=4, num_heads=3, hidden_dim=192, mlp_dim=768, stem="cifar")


NAMES: Mapping[str, Callable[[], Architecture]] = {
    "densenet121": _densenet121,
    "densenet169": _densenet169,
    "densenet201": _densenet201,
    "densenet161": _densenet161,
    "densenet-bc-40-12": _densenet_bc_40_12,
    "resnet18": partial(_resnet, (2, 2, 2, 2)),
    "resnet34": partial(_resnet, (3, 4, 6, 3)),
    "resnet50": partial(_resnet, (3, 4, 6, 3), bottleneck=True),
    "vgg11": partial(_vgg, (1, 1, 2, 2, 2), batch_norm=False),
    "vgg11_bn": partial(_vgg, (1, 1, 2, 2, 2), batch_norm=True),
    "vgg13_bn": partial(_vgg, (2, 2, 2, 2, 2), batch_norm=True),
    "vgg16_bn": partial(_vgg, (2, 2, 3, 3, 3), batch_norm=True),
    "vgg19_bn": partial(_vgg, (2, 2, 4, 4, 4), batch_norm=True),
    "lenet5": _lenet5,
    "alexnet": _alexnet,
    "mobilenet_v2": _mobilenet_v2,
    "vit_b_16": _vit_b_16,
    "vit_tiny": _vit_tiny,
}


def build(
    name: str,
    *,
    num_classes: int = 1000,
    input_size: int | None = None,
    stem: str | None = None,
    seed: int = 0,
) -> Model:
    """Build a network with random weights.

    Args:
        name: one of :data:`NAMES`.
        num_classes: number of logits.
        input_size: height and width of the image, in pixels; None for 224 (stem ``imagenet``) or
            32 (stem ``cifar``).
        stem: one of :data:`STEMS`, or None for the architecture's own. What it changes is the family's to
            say; some have one form alone.
        seed: of the weights; the same seed gives the same weights.

    Returns:
        Model: input ``input`` (N, 3, H, W) float32 with N free, output ``logits`` (N, classes), opset 17.

    Raises:
        ModelError: an unknown name or stem, a stem that the network has no form for, or a size or count
            out of range.
    """
    stem = stem or default_stem(name)
    _check_choice("stem", stem, STEMS)
    input_size = default_input_size(stem) if input_size is None else input_size
    _check_range("the number of classes", num_classes, 1, MAX_CLASSES)
    architecture = NAMES[name]()
    if stem not in architecture.stems:
        raise ModelError(
            f"it has no form with the stem {stem}", where=name, fix=f"use the stem {architecture.stem}"
        )
    smallest = architecture.smallest_input(stem)
    if input_size < smallest:
        raise ModelError(
            f"an input of {input_size}x{input_size} is too small (stem {stem})",
            where=name,
            fix=f"use an input size of at least {smallest}",
        )
    _check_range("the input size", input_size, smallest, MAX_INPUT_SIZE)
    unit = architecture.input_unit
    if input_size % unit:
        raise ModelError(
            f"an input of {input_size}x{input_size} is no whole number of its {unit}x{unit} patches",
            where=name,
            fix=f"use an input size that is a multiple of {unit}",
        )
    _check_range("the seed", seed, 0, 2**63 - 1)
    from onnxcomp.model import from_proto

    proto = architecture.proto(name, num_classes=num_classes, input_size=input_size, stem=stem, seed=seed)
    return from_proto(proto, where=name)


def default_stem(name: str) -> str:
    """The stem that the network ``name`` is known with.

    Raises:
        ModelError: no such network.
    """
    _check_choice("network", name, tuple(NAMES))
    return NAMES[name]().stem


def default_input_size(stem: str) -> int:
    """Pixels per side of the images that a stem was made for."""
    return 224 if stem == "imagenet" else 32


def _check_choice(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value in choices:
        return
    hint = meant(value, choices, f"choose from {', '.join(choices)}")
    raise ModelError(f"there is no {what} {value!r}", fix=hint)


def _check_range(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ModelError(f"{what} is {value}", fix=f"choose from {low} to {high}")
