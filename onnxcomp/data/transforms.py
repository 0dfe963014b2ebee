"""From uint8 images to the network's input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxcomp.errors import DataError

if TYPE_CHECKING:
    from onnxcomp.model import Preprocessing

# Luma of ITU-R BT.601. The weights add up to 1, so an image that was grey stays what it was.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
CHUNK = 2**15  # pixels whose float32 values stay in the second-level cache


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
    height, width = images.shape[1:3]
    values = np.empty((len(images), channels, height, width), np.float32)
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (preprocessing.mean, preprocessing.std))
    rows = max(1, CHUNK // (height * width))
    for start in range(0, len(images), rows):
        part, chunk = images[start : start + rows], values[start : start + rows]
        chunk[:] = part.transpose(0, 3, 1, 2) if channels == 3 else (part @ LUMA)[:, None]
        chunk -= mean
        chunk /= std
    return values
