"""Mean and deviation of a set's pixels, which its preprocessing needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from onnxcomp.data.dataset import ImageSource

SAMPLE = 5000
SMALLEST_STD = 1.0  # one grey level: a constant channel must not divide by zero


@dataclass(frozen=True)
class Statistics:
    """Per channel (RGB), in units of 0..255.

    Attributes:
        mean: mean over the images' pixels.
        std: deviation over the images' pixels, at least 1.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def statistics_of(images: ImageSource) -> Statistics:
    """Statistics of at most 5,000 evenly spaced images at their own size; each counts equally.

    Raises:
        DataError: a broken image; names the file.
    """
    chosen = np.linspace(0, len(images) - 1, min(len(images), SAMPLE)).round().astype(int)
    mean, square = np.zeros(3), np.zeros(3)
    for index in chosen:
        pixels = np.asarray(images.image(int(index)), np.float64).reshape(-1, 3)
        mean += pixels.mean(0) / len(chosen)
        square += (pixels**2).mean(0) / len(chosen)
    std = np.sqrt(np.maximum(square - mean**2, SMALLEST_STD**2))
    red, green, blue = mean.tolist()
    return Statistics((red, green, blue), (std[0].item(), std[1].item(), std[2].item()))
