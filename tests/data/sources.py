"""Sources of images for the tests."""

from __future__ import annotations

import numpy as np
from PIL import Image


class Pictures:
    """Smooth images of different sizes, as photographs are; each differs."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def image(self, index: int) -> Image.Image:
        """24 to 60 pixels a side."""
        rng = np.random.default_rng(index)
        small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8))
        width, height = rng.integers(24, 61, 2).tolist()
        return small.resize((width, height), Image.Resampling.BICUBIC)
