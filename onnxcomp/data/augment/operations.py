"""The operations that AutoAugment and its successors choose from, in Pillow's own operations.

Cubuk et al., AutoAugment, CVPR 2019, table 6 in the appendix of arXiv 1805.09501. Geometry is nearest
neighbour, as published. A table that Pillow builds anew for each image is kept where it depends on the
magnitude alone: the result is the same, the call ten times faster.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, cast

from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from onnxcomp.data.augment.stage import Colour

Picture = Image.Image
CUTOUT_COLOUR = (125, 123, 114)  # of Fast AutoAugment's published code


class Spot(NamedTuple):
    """What some operations need besides the magnitude.

    Attributes:
        fill: RGB of what moves into the image from outside.
        x: number of [0, 1): a place from left to right.
        y: number of [0, 1): a place from top to bottom.
    """

    fill: Colour
    x: float = 0.0
    y: float = 0.0


Operation = Callable[[Picture, float, Spot], Picture]


def _affine(image: Picture, matrix: tuple[float, ...], spot: Spot) -> Picture:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=spot.fill)


def shear_x(image: Picture, value: float, spot: Spot) -> Picture:
    """Shift each row by ``value`` times its distance from the top."""
    return _affine(image, (1, value, 0, 0, 1, 0), spot)


def shear_y(image: Picture, value: float, spot: Spot) -> Picture:
    """Shift each column by ``value`` times its distance from the left."""
    return _affine(image, (1, 0, 0, value, 1, 0), spot)


def translate_x(image: Picture, value: float, spot: Spot) -> Picture:
    """Shift by ``value`` pixels to the left."""
    return _affine(image, (1, 0, value, 0, 1, 0), spot)


def translate_y(image: Picture, value: float, spot: Spot) -> Picture:
    """Shift by ``value`` pixels up."""
    return _affine(image, (1, 0, 0, 0, 1, value), spot)


def rotate(image: Picture, value: float, spot: Spot) -> Picture:
    """Turn by ``value`` degrees, counter-clockwise, around the middle."""
    return image.rotate(value, fillcolor=spot.fill)


def _ramp(low: int, high: int) -> Picture:
    return Image.frombytes("L", (high - low + 1, 1), bytes(range(low, high + 1)))


@functools.cache
def _inverted() -> list[int]:
    return [*ImageOps.invert(_ramp(0, 255)).tobytes()]


@functools.lru_cache(1024)
def _solarized(threshold: float) -> list[int]:
    # Pillow types an int; a level is below 37.2 where it is below 38.
    return [*ImageOps.solarize(_ramp(0, 255), math.ceil(threshold)).tobytes()]


@functools.cache
def _posterized(bits: int) -> list[int]:
    return [*ImageOps.posterize(_ramp(0, 255), bits).tobytes()]


@functools.lru_cache(65536)
def _stretched(low: int, high: int) -> list[int]:
    inside = ImageOps.autocontrast(_ramp(low, high)).tobytes()
    return [0] * low + [*inside] + [255] * (255 - high)  # what lies outside does not occur


def invert(image: Picture, value: float, spot: Spot) -> Picture:
    """Every level from 255 down."""
    return image.point(_inverted() * 3)


def solarize(image: Picture, value: float, spot: Spot) -> Picture:
    """Invert the levels from ``value`` on."""
    return image.point(_solarized(value) * 3)


def posterize(image: Picture, value: float, spot: Spot) -> Picture:
    """Keep ``value`` bits of each level, 1 to 8."""
    return image.point(_posterized(int(value)) * 3)


def auto_contrast(image: Picture, value: float, spot: Spot) -> Picture:
    """Stretch each channel from its darkest and brightest level to 0 and 255."""
    extrema = cast("tuple[tuple[int, int], ...]", image.getextrema())
    return image.point([level for low, high in extrema for level in _stretched(low, high)])


def equalize(image: Picture, value: float, spot: Spot) -> Picture:
    """Equalise each channel's histogram."""
    return ImageOps.equalize(image)


def contrast(image: Picture, value: float, spot: Spot) -> Picture:
    """Blend with its mean grey: 0 gives grey, 1 the image."""
    return ImageEnhance.Contrast(image).enhance(value)


def colour(image: Picture, value: float, spot: Spot) -> Picture:
    """Blend with the grey image: 0 gives grey, 1 the image."""
    return ImageEnhance.Color(image).enhance(value)


def brightness(image: Picture, value: float, spot: Spot) -> Picture:
    """Blend with black: 0 gives black, 1 the image."""
    return ImageEnhance.Brightness(image).enhance(value)


def sharpness(image: Picture, value: float, spot: Spot) -> Picture:
    """Blend with the smoothed image: 0 gives the smoothed, 1 the image."""
    return ImageEnhance.Sharpness(image).enhance(value)


def cutout(image: Picture, value: float, spot: Spot) -> Picture:
    """Paint a square of ``value`` pixels around the spot, grey-brown, as Fast AutoAugment does."""
    if value <= 0:
        return image
    width, height = image.size
    left = int(max(0, spot.x * width - value / 2))
    top = int(max(0, spot.y * height - value / 2))
    image = image.copy()
    corners = (left, top, min(width, left + value), min(height, top + value))
    ImageDraw.Draw(image).rectangle(corners, CUTOUT_COLOUR)
    return image


def identity(image: Picture, value: float, spot: Spot) -> Picture:
    """The image."""
    return image


OPERATIONS: dict[str, Operation] = {
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
    "Rotate": rotate,
    "AutoContrast": auto_contrast,
    "Invert": invert,
    "Equalize": equalize,
    "Solarize": solarize,
    "Posterize": posterize,
    "Contrast": contrast,
    "Color": colour,
    "Brightness": brightness,
    "Sharpness": sharpness,
    "Cutout": cutout,
    "Identity": identity,
}
