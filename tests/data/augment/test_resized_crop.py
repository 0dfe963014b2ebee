from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from onnxcomp.data.augment.resized_crop import ResizedCrop
from onnxcomp.data.augment.stage import Setting
from onnxcomp.errors import DataError

sides = st.integers(1, 300)


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8))


@given(sides, sides, st.integers(0, 2**32), st.sampled_from([0.08, 0.5, 1, 1.0]))
def test_a_box_lies_inside_and_has_the_area_and_ratio(width, height, seed, scale):
    left, top, right, bottom = ResizedCrop(scale).box(width, height, np.random.default_rng(seed).random(22))
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    columns, rows = right - left, bottom - top
    if min(columns, rows) > 20 and 0.8 < width / height < 1.25:
        # Rounding to whole pixels changes either by at most half of one in 20.
        assert 0.75 / 1.06 <= columns / rows <= 4 / 3 * 1.06
        assert columns * rows >= scale * width * height * 0.93 or scale > 0.5


def test_the_boxes_of_many_draws_are_spread():
    rng = np.random.default_rng(0)
    boxes = np.array([ResizedCrop().box(500, 375, rng.random(22)) for _ in range(2000)])
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / (500 * 375)
    assert 0.078 < area.min() < 0.09
    assert area.max() > 0.98
    # Area and log ratio are uniform among those that fit; four deviations of the mean are 0.02.
    grid, ratio = np.meshgrid(
        np.linspace(0.08, 1, 500), np.exp(np.linspace(np.log(3 / 4), np.log(4 / 3), 500))
    )
    fits = (grid * ratio <= 500 / 375) & (grid / ratio <= 375 / 500)
    assert abs(area.mean() - grid[fits].mean()) < 0.02
    assert boxes[:, 0].min() == boxes[:, 1].min() == 0
    assert boxes[:, 2].max() == 500
    assert boxes[:, 3].max() == 375


@pytest.mark.parametrize(
    ("width", "height", "box"), [(100, 10, (43, 0, 56, 10)), (10, 100, (0, 43, 10, 56)), (1, 1, (0, 0, 1, 1))]
)
def test_what_fits_no_try_is_cut_in_the_middle(width, height, box):
    assert ResizedCrop(1.0).box(width, height, np.full(22, 0.5)) == box


def test_the_part_is_scaled_as_pillow_scales_it():
    image, draws = picture(90, 60), np.random.default_rng(3).random(22)
    part = image.crop(ResizedCrop().box(90, 60, draws)).resize((24, 16), Image.Resampling.BILINEAR)
    found = ResizedCrop().cut(image, (16, 24), draws)
    assert found.dtype == np.uint8
    assert np.array_equal(found, np.asarray(part))


def test_images_of_the_right_size_are_cut_too():
    images = np.stack([np.asarray(picture(24, 16))] * 3)
    draws = np.random.default_rng(0).random((3, 22))
    result = ResizedCrop().apply(images.copy(), draws, Setting((0, 0, 0), flip=True))
    for image, found, row in zip(images, result, draws, strict=True):
        assert np.array_equal(found, ResizedCrop().cut(Image.fromarray(image), (16, 24), row))


@pytest.mark.parametrize("scale", [0, 1.1, "x", True, None])
def test_a_scale_that_is_none(scale):
    with pytest.raises(DataError, match=r"^resized-crop: scale is .*, not a number from 0.001 to 1"):
        ResizedCrop(scale)
