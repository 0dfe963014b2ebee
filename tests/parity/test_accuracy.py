from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.errors import DataError, ModelError
from onnxcomp.parity.accuracy import accuracy, evaluate_accuracy, label_ranks
from onnxcomp.parity.sample import evenly_spaced
from tests import pictures, run, zoo


@pytest.mark.parametrize("name", zoo.ALL)
def test_top1_and_top5_are_those_of_a_sort(name: str) -> None:
    model, images = pictures.network(name), pictures.pictures(60)
    logits = run.logits(model, pictures.normalised(images).astype(np.float32))
    order = np.argsort(-logits, axis=1)
    hits = order == images.labels[:, None]
    found = evaluate_accuracy(model, images, threads=1, batch_size=16)
    assert found.count == 60
    assert found.top1 == pytest.approx(100 * hits[:, 0].mean(), abs=1e-9)
    assert found.top5 == pytest.approx(100 * hits[:, :5].any(axis=1).mean(), abs=1e-9)
    assert found.top5 is not None
    assert 0 < found.top5 < 100  # the comparison above is about something


@pytest.mark.parametrize("batch", [1, 4, 23, 64])
def test_a_fixed_batch_gives_what_a_free_one_gives(batch: int) -> None:
    images = pictures.pictures(23)
    free = evaluate_accuracy(pictures.network("resnet"), images, threads=1)
    fixed = evaluate_accuracy(pictures.network("resnet", batch=batch), images, threads=1)
    assert fixed == free


def test_there_is_no_top5_of_five_classes() -> None:
    images = pictures.pictures(classes=5)
    assert evaluate_accuracy(pictures.network("mlp", classes=5), images, threads=1).top5 is None
    assert evaluate_accuracy(pictures.network("mlp", classes=6), images, threads=1).top5 is not None


def test_progress_counts_every_image_once() -> None:
    counts: list[int] = []
    model, images = pictures.network("mlp"), pictures.pictures(23)
    found = evaluate_accuracy(model, images, threads=1, batch_size=10, progress=counts.append)
    assert counts == [10, 10, 3]
    assert accuracy(model, images, threads=1) == found.top1


def test_of_equal_logits_the_first_class_wins() -> None:
    logits = np.zeros((3, 4), np.float32)
    assert label_ranks(logits, np.array([0, 1, 3])).tolist() == [0, 1, 3]


def test_nan_is_never_right() -> None:
    logits = np.array([[np.nan, 1.0, 2.0], [3.0, 1.0, 2.0]], np.float32)
    assert label_ranks(logits, np.array([0, 0])).tolist() == [3, 0]


def test_without_normalisation_it_refuses() -> None:
    model = pictures.network("mlp")
    model.preprocessing = None
    with pytest.raises(ModelError, match="does not say how its images are normalised"):
        accuracy(model, pictures.pictures(), threads=1)


def test_without_images_it_refuses() -> None:
    with pytest.raises(DataError, match="no image"):
        accuracy(pictures.network("mlp"), evenly_spaced(pictures.pictures(), 0), threads=1)
