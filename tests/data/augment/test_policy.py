from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onnxcomp.data.augment.operations import OPERATIONS, Spot
from onnxcomp.data.augment.policy import KINDS, Policy, table
from onnxcomp.data.augment.stage import Setting

SETTING = Setting((1, 2, 3), flip=True)
COUNTS = {
    "autoaugment-cifar10": 25,
    "autoaugment-imagenet": 25,
    "fast-autoaugment-cifar10": 493,
    "fast-autoaugment-imagenet": 498,
}
# Read in the publications themselves: first, last, and some between.
EXCERPTS: dict[str, list[tuple[Any, ...]]] = {
    "autoaugment-cifar10": [
        (0, "Invert", 0.1, 0, "Contrast", 0.2, 6),
        (5, "ShearY", 0.2, 7, "Posterize", 0.3, 7),
        (13, "Brightness", 0.9, 6, "Color", 0.2, 8),
        (24, "TranslateY", 0.7, 9, "AutoContrast", 0.9, 0),
    ],
    "autoaugment-imagenet": [
        (0, "Posterize", 0.4, 8, "Rotate", 0.6, 9),
        (8, "Rotate", 0.2, 3, "Solarize", 0.6, 8),
        (18, "ShearX", 0.6, 5, "Equalize", 1.0, 0),
        (24, "Equalize", 0.8, 0, "Equalize", 0.6, 0),
    ],
    "fast-autoaugment-cifar10": [
        (
            None,
            "Equalize",
            0.0002657688243309364,
            0.08190798535970034,
            "Rotate",
            0.5215478065240905,
            0.5773519995038368,
        ),
        (
            None,
            "ShearY",
            0.6858549297583574,
            0.9993252035788924,
            "Sharpness",
            0.04682428732773203,
            0.21698099707915652,
        ),
        (
            492,
            "Cutout",
            0.7550520024859294,
            0.08982367300605598,
            "ShearX",
            0.5844942417320858,
            0.36051195083380105,
        ),
    ],
    "fast-autoaugment-imagenet": [
        (
            0,
            "ShearY",
            0.14143816458479197,
            0.513124791615952,
            "Sharpness",
            0.9290316227291179,
            0.9788406212603302,
        ),
        (
            None,
            "Rotate",
            0.0008372434310827959,
            0.28599951781141714,
            "Equalize",
            0.37113686925530087,
            0.5243929348114981,
        ),
        (
            497,
            "AutoContrast",
            0.5404508567155423,
            0.7472387762067986,
            "Equalize",
            0.05649876539221024,
            0.5628180219887216,
        ),
    ],
}


def pixels(seed: int, count: int = 4, height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


@pytest.mark.parametrize("name", KINDS)
def test_the_tables_are_as_published(name):
    sub_policies = table(name)
    assert len(sub_policies) == COUNTS[name]
    levels = KINDS[name].levels
    flat = [tuple(part for step in sub_policy for part in step) for sub_policy in sub_policies]
    for index, *excerpt in EXCERPTS[name]:
        excerpt[2], excerpt[5] = excerpt[2] / levels, excerpt[5] / levels
        assert tuple(excerpt) in flat
        if index is not None:
            assert flat[index] == tuple(excerpt)
    for sub_policy in sub_policies:
        assert len(sub_policy) == 2
        for operation, probability, level in sub_policy:
            assert operation in KINDS[name].ranges
            assert 0 <= probability <= 1
            assert 0 <= level <= 1


@pytest.mark.parametrize("name", KINDS)
def test_a_table_says_where_it_is_from(name):
    text = files("onnxcomp.data.augment").joinpath("policies", f"{name}.json").read_text("utf-8")
    found = json.loads(text)
    assert set(found) == {"paper", "source", "licence", "levels", "sub_policies"}
    assert "arXiv" in found["paper"]


@pytest.mark.parametrize("name", KINDS)
def test_every_sub_policy_is_its_operations(name):
    """Each drawn in turn, both operations certain: the same as by hand."""
    image, kind = pixels(1, 1)[0], KINDS[name]
    count = COUNTS[name]
    images = np.repeat(image[None], count, 0)
    draws = np.zeros((count, 9))
    draws[:, 0] = (np.arange(count) + 0.5) / count
    draws[:, 2:5] = draws[:, 6:9] = 0.7, 0.3, 0.6
    draws[:, [1, 5]] = -1.0  # below any probability, zero too
    result = Policy(name).apply(images, draws, SETTING)
    for found, sub_policy in zip(result, table(name), strict=True):
        expected = Image.fromarray(image)
        for operation, _, level in sub_policy:
            value = kind.ranges[operation].value(level, 32, 0.7)
            expected = OPERATIONS[operation](expected, value, Spot(kind.fill, 0.3, 0.6))
        assert np.array_equal(found, np.asarray(expected)), sub_policy


@given(st.integers(0, 2**32), st.sampled_from(sorted(KINDS)))
def test_an_operation_comes_with_its_probability(seed, name):
    images = pixels(seed)
    draws = np.random.default_rng(seed).random((4, 9))
    result = Policy(name).apply(images.copy(), draws, SETTING)
    for image, found, row in zip(images, result, draws, strict=True):
        sub_policy = table(name)[int(row[0] * COUNTS[name])]
        expected = Image.fromarray(image)
        for step, (chance, sign, x, y) in zip(sub_policy, (row[1:5], row[5:]), strict=True):
            if chance < step[1]:
                expected = Policy(name).operate(expected, step, sign, x, y)
        assert np.array_equal(found, np.asarray(expected))


@pytest.mark.parametrize("name", KINDS)
def test_an_operation_that_is_not_due_leaves_the_image(name):
    images = pixels(2, 50)
    draws = np.random.default_rng(0).random((50, 9))
    draws[:, [1, 5]] = 1.0
    assert np.array_equal(Policy(name).apply(images.copy(), draws, SETTING), images)


def test_images_that_are_not_square():
    """A shift along y is a part of the height."""
    image = pixels(3, 1, 20, 40)[0]
    step = ("TranslateY", 1.0, 1.0)
    shifted = Policy("fast-autoaugment-cifar10").operate(Image.fromarray(image), step, 0.0, 0.0, 0.0)
    assert np.array_equal(np.asarray(shifted)[:-9], image[9:])


@pytest.mark.parametrize("name", KINDS)
def test_the_fill_is_the_authors(name):
    white = Image.new("RGB", (32, 32), (255, 255, 255))
    step = ("ShearX", 1.0, 0.9)
    levels = np.unique(np.asarray(Policy(name).operate(white, step, 0.0, 0.0, 0.0)))
    assert levels.tolist() == ([128, 255] if name == "autoaugment-imagenet" else [0, 255])
