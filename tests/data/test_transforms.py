from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.data.transforms import random_crop, random_flip, to_input
from onnxcomp.errors import DataError
from onnxcomp.model import Preprocessing

MEAN = (10.4, 20.6, 30.0)
seeds = st.integers(0, 2**32)
sides = st.integers(1, 40)


def pixels(seed: int, count: int = 5, height: int = 16, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


@given(seeds, sides, sides)
def test_crop_is_a_window_of_the_padded_image(seed, height, width):
    images = pixels(seed, 3, height, width)
    before = images.copy()
    cropped = random_crop(images, np.random.default_rng(seed), MEAN)
    assert cropped.dtype == np.uint8
    assert cropped.shape == images.shape
    assert np.array_equal(images, before)
    above, left = height // 8, width // 8
    for image, result in zip(images, cropped, strict=True):
        padded = np.empty((height + 2 * above, width + 2 * left, 3), np.uint8)
        padded[:] = (10, 21, 30)
        padded[above : above + height, left : left + width] = image
        windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(0, 1))
        assert (windows == result.transpose(2, 0, 1)).all((2, 3, 4)).any()


@pytest.mark.parametrize(("side", "places"), [(32, 81), (8, 9), (7, 1)])
def test_every_place_is_drawn(side, places):
    images = np.zeros((4000, side, side, 3), np.uint8)
    middle = side // 2
    images[:, middle, middle] = 255
    cropped = random_crop(images, np.random.default_rng(0), (0.0,))
    _, rows, columns = np.nonzero(cropped[..., 0])
    assert len(rows) == 4000
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == places


def test_padding_is_zero_after_normalisation():
    images = np.full((50, 16, 16, 3), 200, np.uint8)
    cropped = random_crop(images, np.random.default_rng(0), (50.0, 60.0, 70.0))
    values = to_input(cropped, Preprocessing((50.0, 60.0, 70.0), (10.0, 10.0, 10.0)), 3)
    assert set(np.unique(values[:, 0]).tolist()) == {0.0, 15.0}
    assert set(np.unique(values[:, 2]).tolist()) == {0.0, 13.0}


@given(seeds)
def test_flip_mirrors_or_leaves(seed):
    images = pixels(seed)
    before = images.copy()
    flipped = random_flip(images, np.random.default_rng(seed))
    assert np.array_equal(images, before)
    for image, result in zip(images, flipped, strict=True):
        assert np.array_equal(result, image) or np.array_equal(result, image[:, ::-1])


def test_flip_takes_about_half():
    images = pixels(0, 4000, 1, 8)
    flipped = random_flip(images, np.random.default_rng(0))
    # Four deviations of a fair coin are 126 of 4000.
    assert abs((flipped != images).any((1, 2, 3)).sum() - 2000) < 126


@given(seeds)
def test_same_generator_same_result(seed):
    images = pixels(seed)
    for transform in (random_flip, lambda x, rng: random_crop(x, rng, MEAN)):
        first, second = (transform(images, np.random.default_rng(seed)) for _ in range(2))
        assert np.array_equal(first, second)


def test_to_input_is_normalised_planes():
    images = pixels(0)
    values = to_input(images, Preprocessing(MEAN, (1.5, 2.5, 3.5)), 3)
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    expected = ((images - np.array(MEAN)) / (1.5, 2.5, 3.5)).transpose(0, 3, 1, 2)
    # float32 against float64: values up to 164, so a rounding of 1e-5 each way.
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-5)


def test_to_input_of_a_grey_network():
    grey = pixels(0)[..., :1].repeat(3, -1)
    values = to_input(grey, Preprocessing((100.0,), (50.0,)), 1)
    assert values.shape == (5, 1, 16, 24)
    # A sum of three float32 products of up to 255.
    np.testing.assert_allclose(values[:, 0], (grey[..., 0] - 100.0) / 50, atol=2e-6, rtol=1e-6)
    red = np.zeros((1, 2, 2, 3), np.uint8)
    red[..., 0] = 100
    assert to_input(red, Preprocessing((0.0,), (1.0,)), 1) == pytest.approx(29.9, rel=1e-6)


@pytest.mark.parametrize(
    ("channels", "mean", "message"),
    [
        (4, MEAN, "data: the network takes 4 channels, and images have 3 or 1"),
        (1, MEAN, "preprocessing: mean and deviation are for 3 channels, the network takes 1"),
        (3, (1.0,), "preprocessing: mean and deviation are for 1 channels, the network takes 3"),
    ],
)
def test_channels_that_do_not_fit(channels, mean, message):
    with pytest.raises(DataError, match=message):
        to_input(pixels(0), Preprocessing(mean, (1.0,) * len(mean)), channels)
