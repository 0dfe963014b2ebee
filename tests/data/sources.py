"""Sources of images for the tests."""

from __future__ import annotations

import numpy as np
from PIL import Image

from onnxcomp.data.images import decode


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


class Encoded:
    """Image files in memory; an error calls one ``<number>.png``."""

    def __init__(self, files: list[bytes]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    def image(self, index: int) -> Image.Image:
        """Decode it."""
        return decode(self._files[index], f"{index}.png")
