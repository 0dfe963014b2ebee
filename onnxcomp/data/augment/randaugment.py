"""RandAugment: a few operations, each drawn from all, all at one level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from onnxcomp.data.augment.operations import OPERATIONS, Spot
from onnxcomp.data.augment.pictures import picture, pixels
from onnxcomp.data.augment.ranges import RANDAUGMENT
from onnxcomp.data.augment.stage import Draws, Images, Setting, check_range

LEVELS = 30
NAMES = tuple(RANDAUGMENT)
SPOT = Spot((0, 0, 0))


@dataclass(frozen=True)
class RandAugment:
    """``n`` operations one after the other; each is one of 14 with equal chance, and may come again.

    Cubuk et al., RandAugment, CVPR workshops 2020 (arXiv 1909.13719), with the ranges and the defaults of
    torchvision.transforms.RandAugment; what moves into the image is black, as there.

    Attributes:
        n: operations an image.
        m: level of all of them, 0 to 30.
    """

    n: int = 2
    m: int = 9

    name: ClassVar[str] = "randaugment"

    def __post_init__(self) -> None:
        check_range(self.name, "n", self.n, 1, len(NAMES), whole=True)
        check_range(self.name, "m", self.m, 0, LEVELS, whole=True)

    @property
    def draws(self) -> int:
        """Two an operation: which, and its sign."""
        return 2 * self.n

    def apply(self, images: Images, draws: Draws, setting: Setting) -> Images:
        """As :class:`~onnxcomp.data.augment.stage.Stage`."""
        height, width = images.shape[1:3]
        for image, numbers in zip(images, draws.tolist(), strict=True):
            result = picture(image)
            for choice, sign in zip(numbers[::2], numbers[1::2], strict=True):
                operation = NAMES[int(choice * len(NAMES))]
                side = height if operation.endswith("Y") else width
                value = RANDAUGMENT[operation].value(self.m / LEVELS, side, sign)
                result = OPERATIONS[operation](result, value, SPOT)
            image[:] = pixels(result)
        return images
