from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pytest

from onnxcomp import pipeline, recipe
from onnxcomp.calibration import ImageCalibration
from onnxcomp.errors import PassError
from onnxcomp.model import Model, from_proto
from onnxcomp.passes.qat import mixed, partial
from onnxcomp.passes.qat.mixed import choose, leave_float
from onnxcomp.passes.qat.sqnr import logits, sqnr
from tests import run
from tests.passes.qat import disaster
from tests.passes.qat.test_partial import NETWORKS, reads


def agreeing(model: Model, count: int = 200) -> ImageCalibration:
    """Random images with the labels that the network gives them."""
    batches = np.split(run.images(model, count, seed=3), range(32, count, 32))
    labels = np.concatenate([run.logits(model, batch).argmax(1) for batch in batches])
    return ImageCalibration(lambda: batches, 1, labels)


def quantized(model: Model, calibration: ImageCalibration, text: str = "qat") -> Model:
    return pipeline.apply(model, recipe.parse(text), calibration=calibration)


def top1(model: Model, calibration: ImageCalibration) -> float:
    found = np.concatenate(logits(model, calibration)).argmax(1)
    return float(100 * np.mean(found == calibration.labels))


def test_the_disastrous_layer_is_left_float_and_no_other() -> None:
    model = disaster.network()
    calibration = agreeing(model)
    given = quantized(model, calibration)
    assert top1(given, calibration) < 50
    choice = choose(given, model, calibration, 10.0)
    assert choice.layers == (disaster.VICTIM,)
    all_, left, with_, ranking = choice.notes
    assert all_.startswith("all 7 layers in INT8: top-1 loses ")
    assert left == f"float_layers=auto leaves 1 of 7 float: {disaster.VICTIM}"
    assert with_.startswith("with them: top-1 loses ")
    assert ranking.startswith(f"most sensitive, alone in INT8: {disaster.VICTIM} (")
    before = reads(given)
    assert leave_float(given, model, calibration, 10.0) == choice.notes
    assert reads(given) == reads(partial.without(quantized(model, calibration), [disaster.VICTIM])) < before
    assert top1(given, calibration) >= 90


@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_left_float_where_int8_will_do(name: str) -> None:
    model = disaster.spread(from_proto(NETWORKS[name]()))
    calibration = agreeing(model, 40)
    given = quantized(model, calibration)
    lost = 100 - top1(given, calibration)
    choice = choose(given, model, calibration, lost + 1e-9)
    assert choice.layers == ()
    (note,) = choice.notes
    assert note.startswith(
        f"float_layers=auto: none; all {len(partial.layers(given))} layers in INT8: top-1 "
    )
    before = reads(given)
    leave_float(given, model, calibration, lost + 1e-9)
    assert reads(given) == before


@pytest.mark.parametrize(
    ("name", "max_drop"),
    [("densenet", 3.0), ("resnet", 0.0), ("resnet", 3.0), ("resnet", 10.0), ("mobilenet", 3.0)],
)
def test_the_drop_is_met_and_each_float_layer_is_needed(name: str, max_drop: float) -> None:
    """With few bits for weights, of which many layers suffer."""
    model = disaster.spread(from_proto(NETWORKS[name]()))
    calibration = agreeing(model, 100)
    given = quantized(model, calibration, "qat{weight_bits=3}")
    assert 100 - top1(given, calibration) > max_drop
    choice = choose(given, model, calibration, max_drop)
    assert 0 < len(choice.layers) <= len(partial.layers(given))
    assert 100 - top1(partial.without(given, choice.layers), calibration) <= max_drop + 1e-9
    order = list(mixed.rank(given, mixed.Judge(model, calibration)))
    assert list(choice.layers) == [name for name in order if name in choice.layers]
    # As it was tried, from the least sensitive on: none could be quantised again beside those before it.
    *_, first = reversed(choice.layers)
    rest = [name for name in choice.layers if name != first]
    assert 100 - top1(partial.without(given, rest), calibration) > max_drop


def test_layers_are_ranked_by_what_they_do_to_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    model = disaster.network()
    calibration = agreeing(model, 64)
    given = quantized(model, calibration)
    judge = mixed.Judge(model, calibration)
    exact = logits(model, calibration)
    expected = {
        name: sqnr(exact, logits(partial.only(given, [name]), calibration)) for name in partial.layers(given)
    }
    found = mixed.rank(given, judge)
    assert found == dict(sorted(expected.items(), key=lambda item: item[1]))
    monkeypatch.setattr(mixed, "CANDIDATES", 2)
    part = mixed.rank(given, judge)
    assert set(part) == set(found)
    assert sum(not math.isnan(value) for value in part.values()) == 2
    assert next(iter(part)) == disaster.VICTIM


def test_float_layers_have_the_weights_of_the_float_network() -> None:
    """As after learned rounding, which moves weights to what INT8 can hold."""
    model = disaster.network()
    calibration = agreeing(model)
    given = quantized(model, calibration)
    exact = {name: constant.values for name, constant in model.constants().items()}
    for name in partial.layers(given):
        constant = given.constants()[name]
        constant.values = constant.values + np.float32(0.01)
    moved = {name: constant.values for name, constant in given.constants().items()}
    found = mixed.rank(given, mixed.Judge(model, calibration))
    alone = partial.only(given, ["fc.weight"])
    for name in partial.layers(given)[:-1]:
        alone.constants()[name].values = exact[name]
    pairs = [logits(one, calibration, mixed.BATCHES) for one in (model, alone)]
    assert found["fc.weight"] == sqnr(*pairs)
    leave_float(given, model, calibration, 25.0)
    left = set(exact) & set(moved) - set(partial.layers(given))
    assert disaster.VICTIM in left
    for name in moved.keys() & exact.keys():
        after = given.constants()[name].values
        np.testing.assert_array_equal(after, (exact if name in left else moved)[name])


def test_few_runs_of_the_network() -> None:
    """One for the float network, one for INT8, one for errors, one a layer, and some to find how many."""

    class Counted(ImageCalibration):
        runs = 0

        def run(self, model: Model, tensors: object) -> Iterator[Mapping[str, np.ndarray]]:  # type: ignore[override]
            Counted.runs += 1
            return super().run(model, tensors)  # type: ignore[arg-type]

    model = disaster.network()
    plain = agreeing(model)
    choose(quantized(model, plain), model, Counted(plain.batches, 1, plain.labels), 10.0)
    assert Counted.runs <= 3 + 7 + 2


def test_without_labels_the_float_network_says_them() -> None:
    model = disaster.network()
    labelled = agreeing(model)
    plain = ImageCalibration(labelled.batches, 1)
    given = quantized(model, labelled)
    assert choose(given, model, plain, 10.0) == choose(given, model, labelled, 10.0)


def test_what_cannot_be_chosen() -> None:
    model = from_proto(NETWORKS["mlp"]())
    calibration = agreeing(model, 32)
    given = quantized(model, calibration)
    for drop in (-1.0, float("nan")):
        with pytest.raises(PassError, match=f"qat: max_drop is {drop:g}; give points of top-1, at least 0"):
            choose(given, model, calibration, drop)
    with pytest.raises(PassError, match="qat: no layer is quantised; apply qat first"):
        choose(model, model, calibration, 1.0)
