from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.data import transforms
from onnxcomp.data.transforms import to_input
from onnxcomp.errors import DataError
from onnxcomp.model import Preprocessing

MEAN = (10.4, 20.6, 30.0)


def pixels(seed: int, count: int = 5, height: int = 16, width: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def test_to_input_is_normalised_planes():
    images = pixels(0)
    values = to_input(images, Preprocessing(MEAN, (1.5, 2.5, 3.5)), 3)
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    expected = ((images - np.array(MEAN)) / (1.5, 2.5, 3.5)).transpose(0, 3, 1, 2)
    # float32 against float64: values up to 164, so a rounding of 1e-5 each way.
    np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("channels", [3, 1])
@pytest.mark.parametrize("chunk", [1, 800, 10**6])
def test_values_do_not_depend_on_how_the_batch_is_cut(monkeypatch, chunk, channels):
    preprocessing = Preprocessing(MEAN[:channels], (1.5, 2.5, 3.5)[:channels])
    whole = to_input(pixels(1), preprocessing, channels)
    monkeypatch.setattr(transforms, "CHUNK", chunk)
    assert np.array_equal(to_input(pixels(1), preprocessing, channels), whole)


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
