from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import graphs
from onnxcomp.data import ImageSet
from onnxcomp.errors import ModelError
from onnxcomp.model import Model
from onnxcomp.sensitivity import bench as benches
from onnxcomp.sensitivity import stages
from onnxcomp.sensitivity.bench import Bench, batch_size, with_weight
from onnxcomp.sensitivity.scores import Point, point
from tests.pictures import pictures
from tests.sensitivity.naive import NETWORKS, SHARED, measure, network, sharing, smallest_away

LOSS = 1e-5
"""Sums are in another order than in a session of the whole network."""


class Pruned:
    """A bench of one thread, for other values of weights."""

    def __init__(self, model: Model, images: ImageSet, **options: int) -> None:
        self.model, self.labels = model, images.labels
        self.bench = Bench(model, images, threads=1, **options)  # type: ignore[arg-type]
        self.readers = {weight.name: [] for weight in graphs.weights(model.graph)}  # type: ignore[var-annotated]
        for weight in graphs.weights(model.graph):
            self.readers[weight.name].append(weight.node.name)

    @property
    def names(self) -> list[str]:
        return sorted(self.readers, key=lambda name: self.bench.place(self.readers[name]))

    def work(self, name: str) -> int:
        return self.bench.work(self.readers.get(name, []))

    def base(self) -> Point:
        return point(self.bench.base(), self.labels)

    def measure(self, name: str, values: np.ndarray) -> Point:
        return point(self.bench.measure(with_weight(self.model, name, values)), self.labels)


@pytest.mark.parametrize("name", NETWORKS)
def test_points_are_those_of_the_whole_network_run_anew(name: str) -> None:
    model, images = network(name), pictures()
    bench = Pruned(model, images)
    expected = measure(model, images)
    found = bench.base()
    assert found.top1 == expected.top1
    assert found.loss == pytest.approx(expected.loss, abs=LOSS)
    constants = model.constants()
    for weight in bench.names:
        for share in (0.5, 0.9):
            values = smallest_away(constants[weight].values, share)
            found, expected = bench.measure(weight, values), measure(model, images, weight, values)
            assert found.top1 == expected.top1, (weight, share)
            assert found.loss == pytest.approx(expected.loss, abs=LOSS), (weight, share)


def test_pruning_a_layer_changes_the_loss() -> None:
    """The comparison above could not fail if nothing ever changed."""
    model, images = network("densenet"), pictures()
    bench = Pruned(model, images)
    dense = bench.base().loss
    changes = [
        abs(bench.measure(name, smallest_away(model.constants()[name].values, 0.9)).loss - dense)
        for name in bench.names
    ]
    assert min(changes) > 100 * LOSS


@pytest.mark.parametrize("options", [{"most": 1}, {"most": 1000}, {"memory": 2**17}, {"memory": 0}], ids=str)
def test_stages_and_memory_do_not_change_the_numbers(options: dict[str, int]) -> None:
    model, images = network("densenet"), pictures()
    plain, other = Pruned(model, images), Pruned(model, images, **options)
    for name in plain.names:
        values = smallest_away(model.constants()[name].values, 0.8)
        assert other.measure(name, values).loss == pytest.approx(plain.measure(name, values).loss, abs=LOSS)


def test_weights_may_be_asked_for_in_any_order() -> None:
    model, images = network("resnet"), pictures()
    bench = Pruned(model, images)
    cut = {name: smallest_away(model.constants()[name].values, 0.8) for name in bench.names}
    forward = {name: bench.measure(name, cut[name]) for name in bench.names}
    backward = {name: bench.measure(name, cut[name]) for name in reversed(bench.names)}
    for name, found in forward.items():  # what is held may have come through other sessions
        assert backward[name].loss == pytest.approx(found.loss, abs=LOSS)


def test_a_weight_of_two_layers_changes_in_both() -> None:
    model, images = sharing(), pictures()
    values = smallest_away(model.constants()[SHARED].values, 0.9)
    found, expected = (
        Pruned(model, images).measure(SHARED, values),
        measure(model, images, SHARED, values),
    )
    assert found.loss == pytest.approx(expected.loss, abs=LOSS)


def test_a_fixed_batch_is_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(10)
    fixed, free = network("resnet", batch=4), network("resnet")
    values = smallest_away(free.constants()["fc.weight"].values, 0.8)
    expected = measure(free, images, "fc.weight", values)
    found = Pruned(fixed, images).measure("fc.weight", values)
    assert found.top1 == expected.top1
    assert found.loss == pytest.approx(expected.loss, abs=LOSS)
    monkeypatch.setattr(benches, "BATCH", 3)
    found = Pruned(free, images).measure("fc.weight", values)
    assert found.top1 == expected.top1
    assert found.loss == pytest.approx(expected.loss, abs=LOSS)


def test_sessions_are_built_once_for_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("mlp")
    bench = Pruned(model, pictures())
    built: list[object] = []
    real = stages.session

    def counted(part: Model, *, threads: int) -> object:
        built.append(part)
        return real(part, threads=threads)

    monkeypatch.setattr(stages, "session", counted)
    values = model.constants()["w1"].values
    bench.measure("w1", values)
    first = len(built)
    bench.measure("w1", values * 0)
    assert len(built) == first > 0


def test_work_falls_along_the_network() -> None:
    bench = Pruned(network("densenet"), pictures())
    works = [bench.work(name) for name in bench.names]
    assert works == sorted(works, reverse=True)
    assert works[0] == bench.work("") > works[-1] > 0


def test_logits_that_are_not_finite_are_refused() -> None:
    model = network("mlp")
    model.constants()["b1"].values = np.full(32, np.inf, np.float32)
    with pytest.raises(ModelError, match="logits that are not finite; check the weights"):
        Pruned(model, pictures()).base()
    model = network("mlp")
    with pytest.raises(ModelError, match="logits that are not finite; exclude w2"):
        Pruned(model, pictures()).measure("w2", model.constants()["w2"].values * np.float32(3e38))


def test_batches_are_about_equally_large() -> None:
    model = network("densenet")
    assert batch_size(model, 23) == 23
    assert batch_size(model, 130) == 44  # three of 64 would leave 2
    assert batch_size(network("densenet", size=512), 130) < 10
