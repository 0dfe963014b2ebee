"""Random crop, random mirroring and cutout, each for a whole batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxcomp.data.augment.draws import integers
from onnxcomp.data.augment.stage import Draws, Images, Setting, check_range

CROP_DIVISOR = 8  # 4 pixels for 32x32, as customary for CIFAR-10 (He et al., 2016, section 4.2)
LARGEST = 65536


@dataclass(frozen=True)
class Crop:
    """Pad each side by an eighth of it and crop back to the old size at a random place.

    The padding is the mean colour, zero after normalisation but for its rounding to a grey level. A
    side below 8 pixels is not shifted. He et al., Deep residual learning, CVPR 2016, section 4.2.
    """

    name: ClassVar[str] = "crop"
    draws: ClassVar[int] = 2

    def apply(self, images: Images, draws: Draws, setting: Setting) -> Images:
        """As :class:`~onnxcomp.data.augment.stage.Stage`."""
        count, height, width, _ = images.shape
        above, left = height // CROP_DIVISOR, width // CROP_DIVISOR
        cropped = np.empty_like(images)
        cropped.reshape(count, height, width * 3)[:] = np.tile(np.array(setting.mean, np.uint8), width)
        tops = integers(draws[:, 0], 2 * above + 1)
        starts = integers(draws[:, 1], 2 * left + 1)
        for image, result, top, start in zip(images, cropped, tops, starts, strict=True):
            to_rows, from_rows = _overlap(top - above, height)
            to_columns, from_columns = _overlap(start - left, width)
            result[to_rows, to_columns] = image[from_rows, from_columns]
        return cropped


def _overlap(shift: int, side: int) -> tuple[slice, slice]:
    """Where the pixels of a side lie after and before it is shifted."""
    low, high = max(0, shift), side + min(0, shift)
    return slice(low - shift, high - shift), slice(low, high)


@dataclass(frozen=True)
class Flip:
    """Mirror left to right with probability one half, where the data set allows it."""

    name: ClassVar[str] = "flip"
    draws: ClassVar[int] = 1

    def apply(self, images: Images, draws: Draws, setting: Setting) -> Images:
        """As :class:`~onnxcomp.data.augment.stage.Stage`."""
        if setting.flip:
            mirrored = draws[:, 0] < 0.5
            backwards = np.arange(images.shape[2] - 1, -1, -1)
            # take: twice as fast as a slice with a negative step
            images[mirrored] = images[mirrored].take(backwards, axis=2)
        return images


@dataclass(frozen=True)
class Cutout:
    """Paint a square of the mean colour at a random place, which may reach over the edge.

    DeVries and Taylor, Improved regularization of convolutional neural networks with cutout, 2017,
    section 3.2: 16 pixels for CIFAR-10.

    Attributes:
        size: side of the square in pixels; half of the image's shorter side by default.
    """

    size: int | None = None

    name: ClassVar[str] = "cutout"
    draws: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.size is not None:
            check_range(self.name, "size", self.size, 1, LARGEST, whole=True)

    def apply(self, images: Images, draws: Draws, setting: Setting) -> Images:
        """As :class:`~onnxcomp.data.augment.stage.Stage`."""
        _, height, width, _ = images.shape
        size = self.size or max(1, min(height, width) // 2)
        tops = integers(draws[:, 0], height)
        starts = integers(draws[:, 1], width)
        for image, row, column in zip(images, tops, starts, strict=True):
            top, start = row - size // 2, column - size // 2
            image[max(0, top) : top + size, max(0, start) : start + size] = setting.mean
        return images
