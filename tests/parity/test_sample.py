from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from onnxcomp.data import ImageSet
from onnxcomp.parity.sample import evenly_spaced, every_nth, limited
from tests.pictures import pictures


class OneByOne:
    """Pictures that do not lie in one array."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int) -> Image.Image:
        return self.images.source.image(index)


@pytest.mark.parametrize("in_memory", [True, False])
def test_images_and_labels_stay_together(in_memory: bool) -> None:
    images = pictures(23)
    if not in_memory:
        images = ImageSet(OneByOne(images), images.labels, images.classes)
    some = evenly_spaced(images, 3)
    np.testing.assert_array_equal(some.labels, images.labels[[0, 11, 22]])
    size = (16, 16)
    np.testing.assert_array_equal(some.load([2, 0], size), images.load([22, 0], size))


@pytest.mark.parametrize("n", [1, 2, 5, 24])
def test_every_nth_makes_up_the_whole(n: int) -> None:
    images = pictures(23)
    shares = [every_nth(images, n, first) for first in range(n)]
    labels = np.full(23, -1)
    for first, share in enumerate(shares):
        labels[first::n] = share.labels
    np.testing.assert_array_equal(labels, images.labels)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
    size = (16, 16)
    np.testing.assert_array_equal(shares[0].load([0], size), images.load([0], size))
    if n == 5:
        np.testing.assert_array_equal(shares[2].load([1], size), images.load([7], size))


def test_a_limit_takes_from_every_class_of_a_sorted_set() -> None:
    images = pictures(100)
    ordered = ImageSet(images.source, np.sort(images.labels), images.classes)
    assert set(limited(ordered, 30).labels.tolist()) == set(range(10))


@pytest.mark.parametrize("limit", [None, 23, 24])
def test_no_limit_is_the_set_itself(limit: int | None) -> None:
    images = pictures(23)
    assert limited(images, limit) is images
