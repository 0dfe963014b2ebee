"""Small image files and folders for the tests of data sets."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def encoded(
    colour: tuple[int, int, int] = (200, 100, 50), size: tuple[int, int] = (8, 8), kind: str = "PNG"
) -> bytes:
    """An image file of one colour; ``size`` is (width, height)."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def noise(seed: int, side: int = 16, kind: str = "PNG") -> bytes:
    """An image file of random pixels, which no encoder makes small."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def two_classes(top: str = "", test: str = "test", count: int = 3) -> dict[str, bytes]:
    """Files of a data set of cats and dogs."""
    files = {}
    for split in ("train", test):
        for label, name in enumerate(("cat", "dog")):
            for number in range(count):
                files[f"{top}{split}/{name}/{number}.png"] = encoded((10 * number, 100 * label, 7))
    return files


def write_folder(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below ``root``; a name that ends with ``/`` is an empty folder."""
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir(exist_ok=True)
        else:
            path.write_bytes(data)
    return root


def write_zip(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    """Write a zip; a name that ends with ``/`` is an empty folder."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path
