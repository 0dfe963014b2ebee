from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp import recipe as recipes
from onnxcomp.data import DataSet
from onnxcomp.errors import DataError, ModelError
from onnxcomp.model import Form, Model
from onnxcomp.sensitivity.bench import Array, Bench, Variant
from onnxcomp.sensitivity.prune.curves import Curves, save
from onnxcomp.sensitivity.prune.measure import Measurement, open_measurement
from onnxcomp.sensitivity.prune.way import Way
from tests import run
from tests.sensitivity.naive import agreeing, data, measure, network, smallest_away


class KilledError(Exception):
    """Stands for what ends the process in the middle."""


def opened(
    model: Model, root: Path, way: Way | None = None, *, given: DataSet | None = None, images: int = 23
) -> Measurement:
    return open_measurement(
        model, given or data(), way or Way(sparsities=(0.5, 0.9)), images=images, split="train", root=root
    )


def fill(found: Measurement) -> list[float]:
    """Measures what is missing; the progress that was told."""
    told: list[float] = []
    found.fill(found.prepare(threads=1), threads=1, progress=told.append)
    return told


def complete(*args: object, **more: object) -> Curves:
    found = opened(*args, **more)  # type: ignore[arg-type]
    if found.points.missing:
        fill(found)
    return found.curves()


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The weights that are really measured."""
    names: list[str] = []
    real = Bench.measure

    def noted(self: Bench, variant: Variant) -> Array:
        names.append(variant.name)
        return real(self, variant)

    monkeypatch.setattr(Bench, "measure", noted)
    return names


@pytest.mark.parametrize("name", ["densenet", "mlp"])
def test_every_layer_at_every_sparsity(name: str, tmp_path: Path) -> None:
    """Loss to 1e-5: sums are in another order than in a session of the whole network."""
    model, images = network(name), data().train
    found = complete(model, tmp_path)
    assert found.dense.top1 == measure(model, images).top1
    assert found.dense.loss == pytest.approx(measure(model, images).loss, abs=1e-5)
    assert list(found.layers) == [weight.name for weight in graphs.weights(model.graph)]
    for weight, points in found.layers.items():
        assert list(points) == [0.5, 0.9]
        for share, point in points.items():
            values = smallest_away(model.constants()[weight].values, share)
            expected = measure(model, images, weight, values)
            assert point.top1 == expected.top1
            assert point.loss == pytest.approx(expected.loss, abs=1e-5)
    assert (found.images, found.data) == (23, "training images of pictures")


def test_a_second_call_measures_nothing(tmp_path: Path, measured: list[str]) -> None:
    first = complete(network("mlp"), tmp_path)
    assert len(measured) == 4
    again = opened(network("mlp"), tmp_path)
    assert not again.points.missing
    assert again.curves() == first
    assert len(measured) == 4


def test_one_more_sparsity_measures_only_that(tmp_path: Path, measured: list[str]) -> None:
    complete(network("mlp"), tmp_path)
    measured.clear()
    more = opened(network("mlp"), tmp_path, Way(sparsities=(0.5, 0.7, 0.9)))
    assert more.points.missing == [("w1", 0.7), ("w2", 0.7)]
    fill(more)
    assert measured == ["w1", "w2"]
    assert list(more.curves().layers["w1"]) == [0.5, 0.7, 0.9]


def test_fewer_layers_measure_nothing(tmp_path: Path) -> None:
    whole = complete(network("resnet"), tmp_path)
    part = opened(network("resnet"), tmp_path, Way(sparsities=(0.9,), exclude=("fc*",)))
    assert not part.points.missing
    assert "fc.weight" in whole.layers
    assert "fc.weight" not in part.curves().layers


@pytest.mark.parametrize(
    "what", ["weights", "preprocessing", "data", "labels", "images", "criterion", "pattern"]
)
def test_whatever_changes_the_numbers_measures_anew(what: str, tmp_path: Path) -> None:
    complete(network("mlp"), tmp_path)
    model, way, given, images = network("mlp"), Way(sparsities=(0.5, 0.9)), data(), 23
    if what == "weights":
        model.constants()["b2"].values = model.constants()["b2"].values * 2
    elif what == "preprocessing":
        assert model.preprocessing is not None
        model.preprocessing = replace(model.preprocessing, std=(60.0, 61.0, 63.0))
    elif what == "data":
        given = DataSet("pictures", data(23, test=23).test, data().test)
    elif what == "labels":
        given.train.labels[:] = given.train.labels[::-1]
    elif what == "images":
        images = 22
    else:
        way = (
            Way("random", sparsities=(0.5, 0.9))
            if what == "criterion"
            else Way(pattern="2x1", sparsities=(0.5, 0.9))
        )
    assert len(opened(model, tmp_path, way, given=given, images=images).points.missing) == 5


def test_a_criterion_of_gradients_depends_on_the_images_that_they_are_of(tmp_path: Path) -> None:
    way = Way("obd", sparsities=(0.9,))
    same = data().test
    first = open_measurement(network("mlp"), data(), way, images=7, split="test", root=tmp_path)
    other = DataSet("pictures", data(40).train, same)
    assert (
        open_measurement(network("mlp"), other, way, images=7, split="test", root=tmp_path).points.cache
        != first.points.cache
    )
    plain = [
        open_measurement(network("mlp"), each, Way(), images=7, split="test", root=tmp_path).points.cache
        for each in (data(), other)
    ]
    assert plain[0] == plain[1]


@pytest.mark.parametrize("after", [0, 1, 3, 6])
def test_a_kill_loses_the_point_that_was_being_measured(
    after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = complete(network("resnet"), tmp_path / "whole")
    real, count = Bench.measure, 0

    def measured(self: Bench, variant: Variant) -> Array:
        nonlocal count
        count += 1
        if count > after:
            raise KilledError
        return real(self, variant)

    monkeypatch.setattr(Bench, "measure", measured)
    with pytest.raises(KilledError):
        complete(network("resnet"), tmp_path / "part")
    monkeypatch.setattr(Bench, "measure", real)
    found = opened(network("resnet"), tmp_path / "part")
    assert len(found.points.known) == after + 1  # and the dense network
    fill(found)
    again = found.curves()
    for name, points in whole.layers.items():
        for share, point in points.items():  # to 1e-5: other sessions lead to where the second call begins
            assert again.layers[name][share].top1 == point.top1
            assert again.layers[name][share].loss == pytest.approx(point.loss, abs=1e-5)


def test_a_damaged_entry_is_measured_anew(tmp_path: Path, measured: list[str]) -> None:
    first = complete(network("mlp"), tmp_path)
    measured.clear()
    cache = opened(network("mlp"), tmp_path).points.cache
    victim = next(path for path in cache.folder.iterdir() if '"w2"' in path.read_text(encoding="utf-8"))
    victim.write_text("{", encoding="utf-8")
    found = opened(network("mlp"), tmp_path)
    assert found.points.damaged == [str(victim)]
    fill(found)
    assert measured == ["w2"]
    assert opened(network("mlp"), tmp_path).points.damaged == []
    for name, points in found.curves().layers.items():
        for share, point in points.items():
            assert point.loss == pytest.approx(first.layers[name][share].loss, abs=1e-5)


def test_progress_is_the_share_of_the_work(tmp_path: Path) -> None:
    told = fill(opened(network("densenet"), tmp_path))
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1, abs=1e-9)
    steps = np.diff([0, *told])
    assert steps[1] > 2 * steps[-1] > 0  # the first layer has the whole network behind it


def test_images_come_from_the_set_that_is_named(tmp_path: Path) -> None:
    model = network("mlp")
    found = open_measurement(model, data(), Way(), images=1000, split="test", root=tmp_path)
    assert len(found.images.chosen) == 7
    fill(found)
    assert found.curves().data == "test images of pictures"
    assert found.curves().dense.top1 == measure(model, data().test).top1


def test_a_set_without_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data pictures: has no test image"):
        open_measurement(network("mlp"), data(23, test=0), Way(), images=5, split="test", root=tmp_path)


def test_a_network_with_losses_is_measured_without_them(tmp_path: Path) -> None:
    model = network("mlp")
    taught = pipeline.apply(model, recipes.parse("distill"))
    assert taught.form is Form.COMPRESSION
    plain, found = complete(model, tmp_path), complete(taught, tmp_path / "other")
    assert found.dense.loss == pytest.approx(plain.dense.loss, abs=1e-5)
    assert found.layers.keys() == plain.layers.keys()


def test_networks_that_cannot_be_measured(tmp_path: Path) -> None:
    model = network("mlp")
    pruned = pipeline.apply(model, recipes.parse("prune{keep_first=false}"))
    quantised = pipeline.apply(model, recipes.parse("qat"), calibration=run.Observed())
    for given in (pruned, quantised):
        with pytest.raises(ModelError, match="is pruned or quantised already; measure the network before"):
            opened(given, tmp_path)
    model.form = Form.DEPLOYABLE
    with pytest.raises(ModelError, match="is deployable already; measure the network before onnxcomp"):
        opened(model, tmp_path)


@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
def test_what_is_measured_decides_what_is_pruned(name: str, tmp_path: Path) -> None:
    """From the curves through the file and the pass to the masks."""
    model = network(name)
    given = agreeing(model)
    way = Way(sparsities=(0.5, 0.7, 0.9))
    curves = complete(model, tmp_path / "cache", way, given=given, images=60)
    assert curves.dense.top1 == 100
    save(curves, tmp_path / "s.json")
    options = {
        "allocation": "sensitivity",
        "sensitivity": str(tmp_path / "s.json"),
        "max_drop": 5.0,
        "schedule": "one-shot",
        "keep_first": False,
        "keep_last": False,
    }
    made = pipeline.apply(model, recipes.Recipe((recipes.build("prune", options),)))
    masks = graphs.masks(made.graph)
    assert len(set(made.sparsities.values())) > 1
    for weight, share in made.sparsities.items():
        values = made.constants()[weight].values
        closed = 1 - np.count_nonzero(masks[weight].values) / values.size if weight in masks else 0
        assert closed == pytest.approx(share, abs=0.5 / values.size + 1e-9)
        within = [sparsity for sparsity in curves.sparsities if curves.drop(weight, sparsity) <= 5]
        assert share >= max(within, default=0) - 1e-9
        if weight in masks and share in curves.sparsities:
            alone = measure(model, given.train, weight, values * masks[weight].values)
            assert alone.top1 == curves.layers[weight][share].top1
