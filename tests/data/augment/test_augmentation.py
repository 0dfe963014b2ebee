from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.data import ImageSet
from onnxcomp.data.augment import NAMES, parse, uniforms
from onnxcomp.data.augment.resized_crop import ResizedCrop
from onnxcomp.data.augment.stage import Setting
from onnxcomp.data.images import fit
from tests.data.sources import Pictures

SIZE = (16, 20)
MEAN = (120.4, 121.0, 500.0)
TEXTS = [*NAMES, "crop,flip,autoaugment-cifar10,cutout", "resized-crop,flip,randaugment{n=3},cutout{size=5}"]


def image_set(flip: bool = True) -> ImageSet:
    """Photographs of different sizes."""
    return ImageSet(Pictures(12), np.zeros(12, np.int64), ("x",), flip)


@pytest.mark.parametrize("text", TEXTS)
def test_shape_type_and_the_set_is_left_alone(text):
    images = image_set()
    augmentation = parse(text)
    before = images.load(range(12), SIZE)
    found = augmentation.load(images, np.arange(12), SIZE, uniforms(0, 0, 0, 12, augmentation.draws), MEAN)
    assert found.shape == (12, *SIZE, 3)
    assert found.dtype == np.uint8
    assert np.array_equal(images.load(range(12), SIZE), before)
    assert np.array_equal(found, before) == (text == "none")


@given(st.sampled_from(TEXTS), st.integers(0, 2**32), st.integers(0, 12))
def test_an_image_does_not_depend_on_its_batch(text, seed, cut):
    images, augmentation = image_set(), parse(text)
    chosen = np.random.default_rng(seed).permutation(12)
    draws = uniforms(seed, 1, 0, 12, augmentation.draws)
    whole = augmentation.load(images, chosen, SIZE, draws, MEAN)
    parts = [
        augmentation.load(images, chosen[s], SIZE, draws[s], MEAN) for s in (slice(cut), slice(cut, None))
    ]
    assert np.array_equal(np.concatenate(parts), whole)


def test_stages_follow_one_another_each_with_its_own_numbers():
    images, augmentation = image_set(), parse("flip,crop,cutout")
    draws = uniforms(0, 0, 0, 12, 5)
    expected = images.load(range(12), SIZE)
    setting = Setting((120, 121, 255), flip=True)
    for stage, columns in zip(augmentation.stages, (slice(1), slice(1, 3), slice(3, 5)), strict=True):
        expected = stage.apply(expected, draws[:, columns], setting)
    assert np.array_equal(augmentation.load(images, np.arange(12), SIZE, draws, MEAN), expected)


def test_a_resized_crop_that_is_first_takes_the_image_at_its_own_size():
    images, draws = image_set(), uniforms(0, 0, 0, 12, 22)
    found = parse("resized-crop").load(images, np.arange(12), SIZE, draws, MEAN)
    for index, (result, row) in enumerate(zip(found, draws, strict=True)):
        assert np.array_equal(result, ResizedCrop().cut(images.source.image(index), SIZE, row))
    later = parse("flip,resized-crop").load(images, np.arange(12), SIZE, np.c_[np.ones(12), draws], MEAN)
    fitted = ResizedCrop().apply(
        np.stack([fit(images.source.image(index), SIZE) for index in range(12)]),
        draws,
        Setting((0, 0, 0), flip=True),
    )
    assert np.array_equal(later, fitted)
    assert not np.array_equal(later, found)


def test_one_mean_stands_for_three():
    images, draws = image_set(), np.zeros((12, 2))
    found = parse("cutout{size=1}").load(images, np.arange(12), SIZE, draws, (99.6,))
    assert (found[:, 0, 0] == 100).all()


def test_a_set_that_must_not_be_mirrored_is_not():
    draws = np.zeros((12, 1))
    found = parse("flip").load(image_set(flip=False), np.arange(12), SIZE, draws, MEAN)
    assert np.array_equal(found, image_set().load(range(12), SIZE))
