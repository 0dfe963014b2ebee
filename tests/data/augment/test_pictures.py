from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onnxcomp.data.augment.pictures import picture, pixels


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
def test_there_and_back(height, width, seed):
    images = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), np.uint8)
    made = picture(images[1])
    assert (made.mode, made.size) == ("RGB", (width, height))
    assert np.array_equal(np.asarray(made), images[1])
    assert np.array_equal(pixels(made), images[1])


def test_a_picture_is_a_copy():
    image = np.zeros((4, 5, 3), np.uint8)
    made = picture(image)
    image[:] = 9
    assert np.array_equal(pixels(made), np.zeros((4, 5, 3)))
    assert np.array_equal(np.asarray(Image.new("RGB", (5, 4))), pixels(made))
