"""Between arrays of pixels and Pillow's images, by the fastest way."""

from __future__ import annotations

import numpy as np
from PIL import Image

from onnxcomp.data.augment.stage import Images


def picture(image: Images) -> Image.Image:
    """A Pillow image of contiguous uint8 of shape (H, W, 3)."""
    height, width, _ = image.shape
    return Image.frombuffer("RGB", (width, height), image, "raw", "RGB", 0, 1)


def pixels(image: Image.Image) -> Images:
    """uint8 of shape (H, W, 3), read only, of an RGB image."""
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, 3)
