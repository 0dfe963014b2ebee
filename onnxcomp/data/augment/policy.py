"""Published policies: AutoAugment and Fast AutoAugment, for CIFAR-10 and for ImageNet."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import ClassVar

from PIL import Image

from onnxcomp.data.augment.operations import OPERATIONS, Spot
from onnxcomp.data.augment.pictures import picture, pixels
from onnxcomp.data.augment.ranges import (
    AUTOAUGMENT_CIFAR10,
    AUTOAUGMENT_IMAGENET,
    FAST_AUTOAUGMENT,
    Ranges,
)
from onnxcomp.data.augment.stage import Colour, Draws, Images, Setting

BLACK, GREY = (0, 0, 0), (128, 128, 128)
Step = tuple[str, float, float]
"""Operation, probability, and level from 0 to 1."""


@dataclass(frozen=True)
class Kind:
    """How a policy's table is read.

    Attributes:
        ranges: magnitudes by operation.
        levels: the highest level.
        fill: RGB of what moves into the image, as in the authors' code.
    """

    ranges: Ranges
    levels: int
    fill: Colour


KINDS = {
    "autoaugment-cifar10": Kind(AUTOAUGMENT_CIFAR10, 10, BLACK),
    # Grey as in github.com/tensorflow/tpu, models/official/efficientnet/autoaugment.py.
    "autoaugment-imagenet": Kind(AUTOAUGMENT_IMAGENET, 10, GREY),
    "fast-autoaugment-cifar10": Kind(FAST_AUTOAUGMENT, 1, BLACK),
    "fast-autoaugment-imagenet": Kind(FAST_AUTOAUGMENT, 1, BLACK),
}


@functools.cache
def table(name: str) -> tuple[tuple[Step, ...], ...]:
    """A policy's sub-policies as published; the file says where."""
    text = files(__package__).joinpath("policies", f"{name}.json").read_text(encoding="utf-8")
    levels = KINDS[name].levels
    return tuple(
        tuple((operation, probability, level / levels) for operation, probability, level in sub_policy)
        for sub_policy in json.loads(text)["sub_policies"]
    )


@dataclass(frozen=True)
class Policy:
    """One sub-policy, drawn for each image: its operations, each with its probability.

    Attributes:
        name: a key of :data:`KINDS`.
    """

    name: str

    NUMBERS: ClassVar[int] = 4  # of each of two operations: chance, sign, x, y
    draws: ClassVar[int] = 1 + 2 * NUMBERS

    def apply(self, images: Images, draws: Draws, setting: Setting) -> Images:
        """As :class:`~onnxcomp.data.augment.stage.Stage`."""
        sub_policies = table(self.name)
        for image, (choice, *numbers) in zip(images, draws.tolist(), strict=True):
            rows = [numbers[at : at + self.NUMBERS] for at in range(0, len(numbers), self.NUMBERS)]
            sub_policy = sub_policies[int(choice * len(sub_policies))]
            steps = [(step, row) for step, row in zip(sub_policy, rows, strict=True) if row[0] < step[1]]
            if steps:
                result = picture(image)
                for step, (_, sign, x, y) in steps:
                    result = self.operate(result, step, sign, x, y)
                image[:] = pixels(result)
        return images

    def operate(self, image: Image.Image, step: Step, sign: float, x: float, y: float) -> Image.Image:
        """One operation at its level; ``sign``, ``x`` and ``y`` are numbers of [0, 1)."""
        kind = KINDS[self.name]
        operation, _, level = step
        side = image.size[operation.endswith("Y")]
        value = kind.ranges[operation].value(level, side, sign)
        return OPERATIONS[operation](image, value, Spot(kind.fill, x, y))
