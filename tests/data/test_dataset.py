from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from onnxcomp.data import DataSet, ImageSet, dataset
from onnxcomp.data.dataset import checked_labels
from onnxcomp.errors import DataError
from tests.data.pictures import encoded
from tests.data.sources import Encoded


class Counting:
    """A source that counts how often each image is read."""

    def __init__(self, count: int) -> None:
        self.reads = [0] * count
        self.colour: int | None = None

    def __len__(self) -> int:
        return len(self.reads)

    def image(self, index: int) -> Image.Image:
        self.reads[index] += 1
        return Image.new("RGB", (6, 4), (index if self.colour is None else self.colour, 0, 0))


def counting_set(count: int = 5) -> tuple[Counting, ImageSet]:
    source = Counting(count)
    return source, ImageSet(source, np.zeros(count, np.int64), ("x",))


def test_each_image_is_decoded_once():
    source, images = counting_set()
    for _ in range(2):
        assert images.load([3, 0, 3], (4, 6))[:, 0, 0, 0].tolist() == [3, 0, 3]
    assert source.reads == [1, 0, 0, 1, 0]
    images.load([3], (2, 2))
    assert source.reads[3] == 2


def test_what_does_not_fit_is_decoded_again(monkeypatch):
    monkeypatch.setattr(dataset, "CACHE_BYTES", 5 * 4 * 6 * 3 - 1)
    source, images = counting_set()
    assert not images.fits_in_memory((4, 6))
    assert images.fits_in_memory((4, 5))
    for _ in range(2):
        assert images.load([3, 0], (4, 6))[:, 0, 0, 0].tolist() == [3, 0]
    assert source.reads == [2, 0, 0, 2, 0]


def test_loaded_images_are_copies():
    pixels = np.zeros((2, 4, 4, 3), np.uint8)
    for images in (ImageSet.from_arrays(pixels, np.zeros(2, np.int64), ["x"]), counting_set()[1]):
        images.load([0], (4, 4))[:] = 255
        assert images.load([0], (4, 4)).max() == 0


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_check_names_the_first_broken_image_whatever_the_threads(monkeypatch, workers):
    monkeypatch.setattr(dataset, "CHECK_CHUNK", 2)
    files = [encoded((k, 0, 0)) for k in range(9)]
    files[5] = files[7] = b"broken"
    source = Encoded(files)
    done: list[int] = []
    with pytest.raises(DataError, match=r"5.png: not a JPEG"):
        ImageSet(source, np.zeros(9, np.int64), ("x",)).check((8, 8), done.append, workers)
    assert done == [2, 2]


def test_check_decodes_all_and_keeps_them(monkeypatch):
    monkeypatch.setattr(dataset, "CHECK_CHUNK", 2)
    source, images = counting_set()
    done: list[int] = []
    images.check((4, 6), done.append)
    assert done == [2, 2, 1]
    images.load(range(5), (4, 6))
    assert source.reads == [1] * 5


def test_arrays_are_resized():
    pixels = np.full((1, 8, 8, 3), 77, np.uint8)
    images = ImageSet.from_arrays(pixels, np.zeros(1, np.int64), ["x"])
    assert images.load([0], (32, 16)).shape == (1, 32, 16, 3)
    assert (images.load([0], (32, 16)) == 77).all()


def test_statistics_are_those_of_the_pixels():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 6, 5, 3), np.uint8)
    images = ImageSet.from_arrays(pixels, np.zeros(50, np.int64), ["x"])
    data = DataSet("a", images, images)
    # Both sum in float64, in another order.
    np.testing.assert_allclose(data.mean, pixels.mean((0, 1, 2)), rtol=1e-10)
    np.testing.assert_allclose(data.std, pixels.std((0, 1, 2)), rtol=1e-10)
    assert all(type(value) is float for value in (*data.mean, *data.std))


def test_statistics_of_a_large_set_take_5000_images():
    source, images = counting_set(20_001)
    source.colour = 9
    assert DataSet("a", images, images).mean == pytest.approx((9, 0, 0), rel=1e-12)
    assert sum(source.reads) == 5000
    assert source.reads[0] == source.reads[-1] == 1


def test_one_colour_has_a_usable_deviation():
    images = ImageSet.from_arrays(np.full((3, 4, 4, 3), 9, np.uint8), np.zeros(3, np.int64), ["x"])
    assert DataSet("a", images, images).std == (1, 1, 1)


@pytest.mark.parametrize(("labels", "bad"), [([0, -1], -1), ([0, 3], 3), ([2**40, 0], 2**40)])
def test_labels_out_of_range(labels, bad):
    with pytest.raises(DataError, match=f"y: holds the label {bad}, outside 0..2"):
        checked_labels(np.array(labels), ("a", "b", "c"), "y")
