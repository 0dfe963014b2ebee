from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from onnxcomp.data.augment.operations import OPERATIONS, Spot

FILL = (9, 99, 199)
seeds = st.integers(0, 2**32)
sides = st.integers(1, 40)
spreads = st.sampled_from([1, 2, 60, 256])


def pixels(seed: int, height: int = 17, width: int = 24, spread: int = 256) -> np.ndarray:
    """Random levels, at most ``spread`` different ones from a random level on."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, spread, (height, width, 3)).astype(np.uint8) + np.uint8(rng.integers(257 - spread))


def run(name: str, image: np.ndarray, value: float = 0.0, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    before = image.copy()
    result = np.asarray(OPERATIONS[name](Image.fromarray(image), value, Spot(FILL, x, y)))
    assert np.array_equal(image, before)
    assert result.shape == image.shape
    assert result.dtype == np.uint8
    return result


def moved(image: np.ndarray, matrix: tuple[float, ...]) -> np.ndarray:
    """Nearest neighbour: pixel centres through the affine ``matrix``, from the result to the image."""
    height, width, _ = image.shape
    y, x = np.mgrid[:height, :width] + 0.5
    columns = np.floor(matrix[0] * x + matrix[1] * y + matrix[2]).astype(int)
    rows = np.floor(matrix[3] * x + matrix[4] * y + matrix[5]).astype(int)
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    result = np.empty_like(image)
    result[:] = FILL
    result[inside] = image[rows[inside], columns[inside]]
    return result


# Odd multiples of 2**-11 put no pixel centre on an edge between two pixels, where rounding would decide.
shears = st.integers(-307, 307).map(lambda k: (2 * k + 1) / 2048)


@given(seeds, sides, sides, shears)
def test_shears(seed, height, width, value):
    image = pixels(seed, height, width)
    assert np.array_equal(run("ShearX", image, value), moved(image, (1, value, 0, 0, 1, 0)))
    assert np.array_equal(run("ShearY", image, value), moved(image, (1, 0, 0, value, 1, 0)))


@given(seeds, sides, sides, st.integers(-80, 80).map(lambda k: k / 4 + 0.125))
def test_translations(seed, height, width, value):
    image = pixels(seed, height, width)
    assert np.array_equal(run("TranslateX", image, value), moved(image, (1, 0, value, 0, 1, 0)))
    assert np.array_equal(run("TranslateY", image, value), moved(image, (1, 0, 0, 0, 1, value)))


def test_a_positive_translation_goes_left_and_up():
    image = pixels(0)
    assert np.array_equal(run("TranslateX", image, 3)[:, :-3], image[:, 3:])
    assert np.array_equal(run("TranslateY", image, 2)[:-2], image[2:])


@given(seeds, st.integers(-30, 30))
def test_rotation(seed, degrees):
    image = pixels(seed, 21, 30)
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    # Counter-clockwise by the angle, around the middle (15, 10.5), with the row axis down.
    matrix = (cos, -sin, 15 - 15 * cos + 10.5 * sin, sin, cos, 10.5 - 15 * sin - 10.5 * cos)
    same = (run("Rotate", image, degrees) == moved(image, matrix)).all(-1)
    # Pillow's fixed-point steps may pick the neighbour where a centre falls on an edge.
    assert same.mean() > 0.97


@given(seeds, spreads)
def test_invert(seed, spread):
    image = pixels(seed, spread=spread)
    assert np.array_equal(run("Invert", image), 255 - image)


@given(seeds, st.floats(0, 256))
def test_solarize(seed, threshold):
    image = pixels(seed)
    assert np.array_equal(run("Solarize", image, threshold), np.where(image < threshold, image, 255 - image))


@given(seeds, st.integers(1, 8))
def test_posterize(seed, bits):
    image = pixels(seed)
    step = 2 ** (8 - bits)
    assert np.array_equal(run("Posterize", image, bits), image // step * step)


@given(seeds, spreads)
def test_auto_contrast(seed, spread):
    image = pixels(seed, spread=spread)
    result = run("AutoContrast", image)
    assert np.array_equal(result, np.asarray(ImageOps.autocontrast(Image.fromarray(image))))
    for channel, found in zip(image.T.astype(int), result.T, strict=True):
        low, high = channel.min(), channel.max()
        expected = (channel - low) * 255 / (high - low) if high > low else channel
        # Pillow rounds down.
        assert np.abs(found - expected).max() <= 1


@given(seeds, spreads, sides, sides)
def test_equalize(seed, spread, height, width):
    image = pixels(seed, height, width, spread)
    expected = image.copy()
    for channel in range(3):
        histogram = np.bincount(image[..., channel].ravel(), minlength=256)
        seen = histogram[histogram > 0]
        step = (seen.sum() - seen[-1]) // 255
        if len(seen) > 1 and step:
            table = (step // 2 + np.cumsum(histogram) - histogram) // step
            expected[..., channel] = table.clip(0, 255)[image[..., channel]]
    assert np.array_equal(run("Equalize", image), expected)


def luma(image: np.ndarray) -> np.ndarray:
    """ITU-R BT.601 to a whole level, as Pillow converts to grey."""
    return (image.astype(int) @ [19595, 38470, 7471] + 0x8000) >> 16


def smoothed(image: np.ndarray) -> np.ndarray:
    """The mean of nine pixels, the middle one counted five times; the edge stays."""
    padded = np.pad(image.astype(float), ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width, _ = image.shape
    total = sum(padded[i : i + height, j : j + width] for i in range(3) for j in range(3)) + 4.0 * image
    result = image.astype(float)
    result[1:-1, 1:-1] = total[1:-1, 1:-1] / 13
    return result


@given(seeds, st.floats(0.1, 1.9))
def test_enhancements_blend_with_their_plain_image(seed, value):
    image = pixels(seed)
    grey = np.repeat(luma(image)[..., None], 3, -1)
    plain = {
        "Brightness": np.zeros_like(image),
        "Color": grey,
        "Contrast": np.full_like(image, int(luma(image).mean() + 0.5)),
        "Sharpness": smoothed(image),
    }
    for name, other in plain.items():
        expected = (other + value * (image - other.astype(float))).clip(0, 255)
        # One level: Pillow rounds down; for sharpness another half, rounded in the smooth image.
        assert np.abs(run(name, image, value) - expected).max() <= (2.01 if name == "Sharpness" else 1.01)
        kind = getattr(ImageEnhance, name)
        assert np.array_equal(
            run(name, image, value), np.asarray(kind(Image.fromarray(image)).enhance(value))
        )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, 0.0) for name in ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Cutout")],
        *[(name, 1.0) for name in ("Contrast", "Color", "Brightness", "Sharpness")],
        ("Solarize", 256),
        ("Posterize", 8),
        ("Identity", 0.0),
        ("Identity", 1.0),
    ],
)
def test_the_neutral_value_changes_nothing(name, value):
    image = pixels(5)
    assert np.array_equal(run(name, image, value), image)


@given(seeds, st.floats(0.5, 12), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_cutout(seed, value, x, y):
    image = pixels(seed)
    height, width, _ = image.shape
    left, top = int(max(0, x * width - value / 2)), int(max(0, y * height - value / 2))
    rows, columns = np.mgrid[:height, :width]
    # Pillow's rectangle includes its second corner.
    inside = (rows >= top) & (rows <= top + value) & (columns >= left) & (columns <= left + value)
    result = run("Cutout", image, value, x, y)
    assert (result[inside] == (125, 123, 114)).all()
    assert np.array_equal(result[~inside], image[~inside])
