from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.data.augment.draws import integers, uniforms

seeds = st.integers(0, 2**64)


@given(seeds, st.integers(0, 1000), st.integers(0, 10**6), st.integers(1, 40), st.integers(0, 30), st.data())
def test_an_image_has_its_numbers_in_any_batch(seed, epoch, first, count, width, data):
    whole = uniforms(seed, epoch, first, count, width)
    assert whole.shape == (count, width)
    cut = data.draw(st.integers(0, count))
    parts = [
        uniforms(seed, epoch, first, cut, width),
        uniforms(seed, epoch, first + cut, count - cut, width),
    ]
    assert np.array_equal(np.concatenate(parts), whole)


def test_numbers_are_uniform_and_differ_between_images_epochs_and_seeds():
    numbers = uniforms(0, 0, 0, 20000, 5)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    # Of 20000 uniform numbers the mean deviates by 0.002: five times that.
    np.testing.assert_allclose(numbers.mean(0), 0.5, atol=0.0102)
    # So do the correlations, by 0.007.
    np.testing.assert_allclose(np.corrcoef(numbers.T), np.eye(5), atol=0.035)
    everything = [numbers, uniforms(0, 1, 0, 20000, 5), uniforms(1, 0, 0, 20000, 5)]
    assert len(np.unique(np.concatenate(everything))) == 3 * 100000


def test_the_numbers_are_not_those_of_the_order():
    order = np.random.default_rng([5, 3]).random(8)
    assert not np.isin(uniforms(5, 3, 0, 2, 8), order).any()


@pytest.mark.parametrize("stop", [1, 2, 9, 31])
def test_integers_are_all_of_them_and_no_more(stop):
    numbers = np.array([0.0, *np.random.default_rng(0).random(2000), np.nextafter(1, 0)])
    assert set(integers(numbers, stop)) == set(range(stop))
