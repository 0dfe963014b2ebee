"""What passes are given of a data set: lazily, on the same images, with its progress told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from onnxcomp import graphs, pipeline, recipe, sources
from onnxcomp.data import DataSet, ImageSet
from onnxcomp.model import Model, Preprocessing, from_proto
from tests import zoo

IMAGES = 70


def network(name: str, batch: str | int = "N") -> Model:
    model = from_proto(zoo.ALL[name](batch=batch))
    model.preprocessing = Preprocessing((127.0,) * 3, (60.0,) * 3)
    return model


class Counted(ImageSet):
    """Noise that notes which images are read."""

    def load(self, indices: Any, size: tuple[int, int]) -> np.ndarray:
        read.extend(int(index) for index in indices)
        return super().load(indices, size)


read: list[int] = []


@pytest.fixture
def data() -> DataSet:
    read.clear()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (100, 16, 16, 3), dtype=np.uint8)
    images = Counted.from_arrays(pixels, np.arange(100) % 10, tuple("0123456789"))
    return DataSet("noise", images, images)


class Shown:
    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, what: str, done: int, total: int) -> None:
        self.calls.append((what, done, total))

    def of(self, word: str) -> list[tuple[int, int]]:
        return [(done, total) for what, done, total in self.calls if word in what]


def test_nothing_is_read_before_a_pass_asks(data: DataSet) -> None:
    model, shown = network("resnet"), Shown()
    found = sources.from_data(model, data, images=IMAGES, threads=1, show=shown)
    # A pass that asks for nothing.
    pipeline.apply(model, recipe.parse("prune"), calibration=found.calibration, gradients=found.gradients)
    assert not read
    assert not shown.calls


@pytest.mark.parametrize("name", ["resnet", "mlp"])
def test_every_question_is_answered_on_the_same_images_and_shown(data: DataSet, name: str) -> None:
    model, shown = network(name), Shown()
    found = sources.from_data(model, data, images=IMAGES, threads=1, show=shown)
    assert found.calibration
    assert found.grams
    assert found.gradients
    chosen = np.linspace(0, 99, IMAGES).astype(int).tolist()

    seen = found.calibration.observe(model, [model.logits.name])
    assert seen[model.logits.name].counts.sum() == IMAGES * 10
    assert drained() == chosen
    assert shown.of("observed") == [(0, IMAGES), (64, IMAGES), (70, IMAGES)]

    layers = list(graphs.weights(model.graph))
    items: Iterable[Any] = found.gradients.per_batch(model, [layers[0].name])
    assert sum(1 for _ in items) == IMAGES
    assert drained() == chosen
    assert shown.of("differentiated") == [(i, IMAGES) for i in range(IMAGES + 1)]

    for part in (layers[:1], layers[1:2], layers[:1]):
        assert list(found.grams.grams(model, part)) == [part[0].name]
        assert drained() == chosen
    assert shown.of("layers") == [(i, len(layers)) for i in (0, 1, 1, 2, 0, 1)]


def drained() -> list[int]:
    found = sorted(read)
    read.clear()
    return found


def test_no_more_images_are_shown_than_there_are(data: DataSet) -> None:
    """A fixed batch of 32 reads 128 for 100."""
    model, shown = network("resnet", batch=32), Shown()
    found = sources.from_data(model, data, images=500, threads=1, show=shown)
    assert found.calibration
    found.calibration.observe(model, [model.logits.name])
    assert len(read) == 128
    assert shown.of("observed") == [(n, 100) for n in (0, 32, 64, 96, 100)]


def test_without_data_there_is_nothing_to_ask() -> None:
    assert sources.Sources() == sources.Sources(None, None, None)
