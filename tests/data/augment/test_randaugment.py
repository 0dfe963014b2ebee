from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onnxcomp.data.augment.operations import OPERATIONS, Spot
from onnxcomp.data.augment.randaugment import NAMES, RandAugment
from onnxcomp.data.augment.ranges import RANDAUGMENT
from onnxcomp.data.augment.stage import Setting
from onnxcomp.errors import DataError

SETTING = Setting((1, 2, 3), flip=True)


def pixels(seed: int, count: int = 4, height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def test_the_operations_are_those_of_the_paper():
    names = "Identity AutoContrast Equalize Rotate Solarize Color Posterize Contrast Brightness Sharpness"
    assert set(NAMES) == {*names.split(), "ShearX", "ShearY", "TranslateX", "TranslateY"}


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 30))
def test_operations_follow_one_another(seed, n, m):
    images = pixels(seed, 3, 20, 28)
    stage = RandAugment(n, m)
    draws = np.random.default_rng(seed).random((3, stage.draws))
    result = stage.apply(images.copy(), draws, SETTING)
    for image, found, row in zip(images, result, draws.reshape(3, n, 2), strict=True):
        expected = Image.fromarray(image)
        for choice, sign in row:
            name = NAMES[int(choice * 14)]
            value = RANDAUGMENT[name].value(m / 30, 20 if name.endswith("Y") else 28, sign)
            expected = OPERATIONS[name](expected, value, Spot((0, 0, 0)))
        assert np.array_equal(found, np.asarray(expected))


def test_level_0_changes_nothing_but_the_histogram():
    image = pixels(0, 1)[0]
    names = [name for name in NAMES if name not in ("AutoContrast", "Equalize", "Solarize")]
    draws = np.array([[(NAMES.index(name) + 0.5) / 14, sign] for name in names for sign in (0.0, 0.9)])
    images = np.repeat(image[None], len(draws), 0)
    assert np.array_equal(RandAugment(1, 0).apply(images.copy(), draws, SETTING), images)
    # From 255 on, as torchvision: white alone becomes black.
    draws = np.array([[(NAMES.index("Solarize") + 0.5) / 14, 0.0]])
    solarized = RandAugment(1, 0).apply(image[None].copy(), draws, SETTING)[0]
    assert np.array_equal(solarized, np.where(image == 255, 0, image))


def test_the_highest_level_changes_each_image():
    images = pixels(0, 13)
    others = [name for name in NAMES if name not in ("Identity",)]
    images[:, 0, 0] = 10, 20, 30
    images = images // 2 + 40
    draws = np.array([[(NAMES.index(name) + 0.5) / 14, 0.0] for name in others])
    assert (RandAugment(1, 30).apply(images.copy(), draws, SETTING) != images).any((1, 2, 3)).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "randaugment: n is 0, not a whole number from 1 to 14; set n anew"),
        ({"m": 31}, "randaugment: m is 31, not a whole number from 0 to 30; set m anew"),
        ({"m": 2.5}, "m is 2.5, not a whole number"),
        ({"n": True}, "n is True, not a whole number"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(DataError, match=message):
        RandAugment(**options)
