"""Decoding one image file, in bounds, and fitting it to a size."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, Image, ImageFile, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from onnxcomp.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MAX_PIXELS = 64_000_000
REPLACE = "replace or remove it"

# What Pillow's readers raise on a damaged file, beyond their documented OSError.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def read_header(data: bytes, where: str) -> ImageFile.ImageFile:
    """Identify an image and check its declared size; no pixel is decoded.

    Args:
        where: what an error calls the file.

    Raises:
        DataError: not a JPEG, PNG, BMP or WebP file, a damaged header, or more than 64 Mpixel.
    """
    try:
        image = _reader(data)
    except DAMAGED as error:
        raise DataError("a broken image", where=where, fix=REPLACE) from error
    if image is None:
        raise DataError("not a JPEG, PNG, BMP or WebP image", where=where, fix=REPLACE)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise DataError(
            f"an image of {width}x{height}, more than {MAX_PIXELS // 10**6} Mpixel",
            where=where,
            fix="scale it down or remove it",
        )
    return image


def _reader(data: bytes) -> ImageFile.ImageFile | None:
    # The readers by themselves, not Image.open: its size limit is a global and warns first.
    file = io.BytesIO(data)
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.JpegImageFile(file)
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImagePlugin.PngImageFile(file)
    if data.startswith(b"BM"):
        return BmpImagePlugin.BmpImageFile(file)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile(file)
    return None


def decode(data: bytes, where: str) -> Image.Image:
    """Decode a JPEG, PNG, BMP or WebP file to RGB; of an animation, the first frame.

    Transparency is dropped and EXIF rotation is ignored, as data-set loaders customarily do.

    Raises:
        DataError: as for :func:`read_header`, broken pixel data, or more than 8 bits a channel.
    """
    image: Image.Image = read_header(data, where)
    if image.mode[0] in "IF":
        raise DataError(f"an image of mode {image.mode}, not 8 bits a channel", where=where, fix="convert it")
    try:
        image.load()
        if "transparency" in image.info:
            image = image.convert("RGBA")  # Pillow warns when this step is left out for a palette
        return image if image.mode == "RGB" else image.convert("RGB")
    except DAMAGED as error:
        raise DataError("a broken image", where=where, fix=REPLACE) from error


def fit(image: Image.Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Scale so that the shorter side fits and crop the centre; bilinear.

    Args:
        image: RGB.
        size: (height, width).

    Returns:
        uint8 of shape (height, width, 3).
    """
    height, width = size
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    return np.asarray(image)
