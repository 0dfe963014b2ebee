"""The crop customary for ImageNet: a random part of the image, scaled to the network's input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from onnxcomp.data.augment.stage import Draws, Images, Setting, check_range

TRIES = 10
RATIOS = (3 / 4, 4 / 3)
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class ResizedCrop:
    """Cut out a part of random area and aspect ratio, and scale it; bilinear.

    Szegedy et al., Going deeper with convolutions, CVPR 2015, section 6, in the form of torchvision's
    RandomResizedCrop: ten tries at a part that lies inside, then the largest in the middle. As the
    first stage it takes the image at its own size, later what the stages before it made.

    Attributes:
        scale: smallest part of the area.
    """

    scale: float = 0.08

    name: ClassVar[str] = "resized-crop"
    draws: ClassVar[int] = 2 * TRIES + 2

    def __post_init__(self) -> None:
        check_range(self.name, "scale", self.scale, 0.001, 1, whole=False)

    def apply(self, images: Images, draws: Draws, setting: Setting) -> Images:
        """As :class:`~onnxcomp.data.augment.stage.Stage`."""
        size = images.shape[1:3]
        for image, row in zip(images, draws, strict=True):
            image[:] = self.cut(Image.fromarray(image), (size[0], size[1]), row)
        return images

    def cut(self, image: Image.Image, size: tuple[int, int], draws: Draws) -> Images:
        """A part of ``image`` at ``size`` (H, W).

        Args:
            draws: of shape (22,).

        Returns:
            uint8 of shape (H, W, 3).
        """
        part = image.crop(self.box(*image.size, draws))
        return np.asarray(part.resize((size[1], size[0]), Image.Resampling.BILINEAR))

    def box(self, width: int, height: int, draws: Draws) -> Box:
        """Left, top, right and bottom of the part of an image of that size."""
        numbers = draws.tolist()
        low, high = (math.log(ratio) for ratio in RATIOS)
        for area, ratio in zip(numbers[:TRIES], numbers[TRIES:-2], strict=True):
            pixels = width * height * (self.scale + area * (1 - self.scale))
            aspect = math.exp(low + ratio * (high - low))
            columns, rows = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
            if 0 < columns <= width and 0 < rows <= height:
                left = math.floor(numbers[-2] * (width - columns + 1))
                top = math.floor(numbers[-1] * (height - rows + 1))
                return left, top, left + columns, top + rows
        return _middle(width, height)


def _middle(width: int, height: int) -> Box:
    low, high = RATIOS
    columns = min(width, max(1, round(height * high)))
    rows = min(height, max(1, round(width / low)))
    left, top = (width - columns) // 2, (height - rows) // 2
    return left, top, left + columns, top + rows
