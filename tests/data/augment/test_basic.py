from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.data import to_input
from onnxcomp.data.augment.basic import Crop, Cutout, Flip
from onnxcomp.data.augment.stage import Setting
from onnxcomp.errors import DataError
from onnxcomp.model import Preprocessing

MEAN = (10, 21, 30)
SETTING = Setting(MEAN, flip=True)
seeds = st.integers(0, 2**32)
sides = st.integers(1, 40)


def pixels(seed: int, count: int = 5, height: int = 16, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def draws(seed: int, count: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).random((count, width))


@given(seeds, sides, sides)
def test_crop_is_the_window_of_the_padded_image_that_was_drawn(seed, height, width):
    images, numbers = pixels(seed, 3, height, width), draws(seed, 3, 2)
    cropped = Crop().apply(images.copy(), numbers, SETTING)
    above, left = height // 8, width // 8
    for image, result, (row, column) in zip(images, cropped, numbers, strict=True):
        padded = np.empty((height + 2 * above, width + 2 * left, 3), np.uint8)
        padded[:] = MEAN
        padded[above : above + height, left : left + width] = image
        top, start = int(row * (2 * above + 1)), int(column * (2 * left + 1))
        assert np.array_equal(result, padded[top : top + height, start : start + width])


@pytest.mark.parametrize(("side", "places"), [(32, 81), (8, 9), (7, 1)])
def test_every_place_is_drawn(side, places):
    images = np.zeros((4000, side, side, 3), np.uint8)
    middle = side // 2
    images[:, middle, middle] = 255
    cropped = Crop().apply(images, draws(0, 4000, 2), Setting((0, 0, 0), flip=True))
    _, rows, columns = np.nonzero(cropped[..., 0])
    assert len(rows) == 4000
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == places


def test_padding_is_zero_after_normalisation():
    images = np.full((50, 16, 16, 3), 200, np.uint8)
    cropped = Crop().apply(images, draws(0, 50, 2), Setting((50, 60, 70), flip=True))
    values = to_input(cropped, Preprocessing((50.0, 60.0, 70.0), (10.0, 10.0, 10.0)), 3)
    assert set(np.unique(values[:, 0]).tolist()) == {0.0, 15.0}
    assert set(np.unique(values[:, 2]).tolist()) == {0.0, 13.0}


@given(seeds, sides, sides)
def test_flip_mirrors_below_one_half(seed, height, width):
    images, numbers = pixels(seed, 5, height, width), draws(seed, 5, 1)
    flipped = Flip().apply(images.copy(), numbers, SETTING)
    for image, result, number in zip(images, flipped, numbers[:, 0], strict=True):
        assert np.array_equal(result, image[:, ::-1] if number < 0.5 else image)


def test_flip_leaves_what_must_not_be_mirrored():
    images = pixels(0)
    assert np.array_equal(Flip().apply(images.copy(), np.zeros((5, 1)), Setting(MEAN, flip=False)), images)


@given(seeds, sides, sides, st.none() | st.integers(1, 50))
def test_cutout_paints_a_square_around_the_place_that_was_drawn(seed, height, width, size):
    images, numbers = pixels(seed, 3, height, width), draws(seed, 3, 2)
    result = Cutout(size).apply(images.copy(), numbers, SETTING)
    side = size or max(1, min(height, width) // 2)
    rows, columns = np.mgrid[:height, :width]
    for image, painted, (y, x) in zip(images, result, numbers, strict=True):
        row, column = int(y * height) - side // 2, int(x * width) - side // 2
        inside = (row <= rows) & (rows < row + side) & (column <= columns) & (columns < column + side)
        assert inside.any()
        assert (painted[inside] == MEAN).all()
        assert np.array_equal(painted[~inside], image[~inside])


def test_cutout_is_16_pixels_of_32_as_published():
    images = np.full((500, 32, 32, 3), 200, np.uint8)
    painted = (Cutout().apply(images, draws(0, 500, 2), SETTING) == MEAN).all(-1).sum((1, 2))
    assert painted.max() == 16 * 16
    assert painted.min() < 10 * 10  # over the edge


@pytest.mark.parametrize("size", [0, -3, 2.5, True, "16", 65537])
def test_a_size_that_is_none(size):
    with pytest.raises(DataError, match=r"^cutout: size is .*, not a whole number from 1 to 65536; set size"):
        Cutout(size)
