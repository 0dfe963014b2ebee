from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.data import open_data
from onnxcomp.data.statistics import statistics_of


def test_sizes_classes_and_split():
    data = open_data("digits")
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert data.classes == tuple("0123456789")
    assert not data.train.flip
    shares = np.bincount(data.test.labels) / np.bincount(
        np.concatenate([data.train.labels, data.test.labels])
    )
    # One in five of each class, to within one image of about 180.
    assert np.abs(shares - 0.2).max() <= 1 / 170


def test_pixels_are_grey_and_fill_the_range():
    images = open_data("digits").train.load(range(1437), (8, 8))
    assert (images == images[..., :1]).all()
    assert (images.min(), images.max()) == (0, 255)
    assert len(np.unique(images)) == 17


def test_same_split_every_time_and_no_image_in_both():
    first, second = open_data("digits"), open_data("digits")
    assert np.array_equal(first.train.labels, second.train.labels)
    images = [
        s.load(range(len(s)), (8, 8)).reshape(len(s), -1) for s in (first.train, first.test, second.train)
    ]
    assert np.array_equal(images[0], images[2])
    assert not {row.tobytes() for row in images[0]} & {row.tobytes() for row in images[1]}
    assert len(np.unique(first.train.labels[:50])) == 10, "shuffled, not sorted by class"


def test_known_statistics_are_right():
    data = open_data("digits")
    found = statistics_of(data.train.source)
    # Written with four digits.
    assert data.mean == pytest.approx(found.mean, abs=1e-4)
    assert data.std == pytest.approx(found.std, abs=1e-4)
