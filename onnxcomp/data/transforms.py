"""From uint8 images to the network's input: random crop, random mirroring, normalisation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxcomp.errors import DataError

if TYPE_CHECKING:
    from onnxcomp.model import Preprocessing

# Luma of ITU-R BT.601. The weights add up to 1, so an image that was grey stays what it was.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
CROP_DIVISOR = 8  # 4 pixels for 32x32, as customary for CIFAR-10 (He et al., 2016, section 4.2)


def random_crop(
    images: NDArray[np.uint8], rng: np.random.Generator, mean: tuple[float, ...]
) -> NDArray[np.uint8]:
    """Pad each side by an eighth of it and crop back to the old size at a random place.

    Args:
        images: (B, H, W, 3).
        mean: padding colour, 0..255, one value or three; after normalisation it is zero.

    Returns:
        uint8 of the same shape; a side below 8 pixels is not shifted.
    """
    count, height, width, _ = images.shape
    above, left = height // CROP_DIVISOR, width // CROP_DIVISOR
    padded = np.empty((count, height + 2 * above, width + 2 * left, 3), np.uint8)
    padded[:] = np.rint(mean).clip(0, 255).astype(np.uint8)
    padded[:, above : above + height, left : left + width] = images
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    rows = rng.integers(0, 2 * above + 1, count)
    columns = rng.integers(0, 2 * left + 1, count)
    cropped: NDArray[np.uint8] = windows[np.arange(count), rows, columns].transpose(0, 2, 3, 1)
    return cropped


def random_flip(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Mirror each image left to right with probability one half; (B, H, W, 3), a copy."""
    flipped = rng.random(len(images)) < 0.5
    result = images.copy()
    result[flipped] = images[flipped, :, ::-1]
    return result


def to_input(images: NDArray[np.uint8], preprocessing: Preprocessing, channels: int) -> NDArray[np.float32]:
    """Normalise: ``(value - mean) / std`` per channel.

    Args:
        images: (B, H, W, 3), RGB.
        channels: 3, or 1 for a network that takes grey images (luma of ITU-R BT.601).

    Returns:
        float32 of shape (B, channels, H, W), contiguous.

    Raises:
        DataError: another number of channels, or one that ``preprocessing`` does not match.
    """
    if channels not in (1, 3):
        raise DataError(
            f"the network takes {channels} channels, and images have 3 or 1",
            where="data",
            fix="use a network whose input has 3 channels or 1",
        )
    if len(preprocessing.mean) != channels or len(preprocessing.std) != channels:
        raise DataError(
            f"mean and deviation are for {len(preprocessing.mean)} channels, the network takes {channels}",
            where="preprocessing",
            fix="give one mean and one deviation for each channel",
        )
    planes = images.transpose(0, 3, 1, 2)
    shape = (len(images), channels, *images.shape[1:3])
    values = np.empty(shape, np.float32)
    if channels == 3:
        values[:] = planes
    else:
        values[:, 0] = images @ LUMA
    values -= np.array(preprocessing.mean, np.float32)[:, None, None]
    values /= np.array(preprocessing.std, np.float32)[:, None, None]
    return values
