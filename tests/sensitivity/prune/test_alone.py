"""What a layer becomes alone is what the pass makes of it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from onnxcomp import graphs, pipeline, sources
from onnxcomp import recipe as recipes
from onnxcomp.model import Model
from onnxcomp.sensitivity.prune import alone as module
from onnxcomp.sensitivity.prune.alone import Alone, gram_size
from onnxcomp.sensitivity.prune.way import Way
from tests.sensitivity.naive import data, network, smallest_away

NAMES = ("mobilenet", "mlp")


def alone(model: Model, way: Way, count: int = 8) -> Alone:
    asked = sources.from_data(model, data(), images=count, threads=1)
    return Alone(model, way, way.plan(model), asked)


def by_the_pass(model: Model, way: Way, name: str, sparsity: float, count: int = 8) -> np.ndarray:
    """The weight after the pass prunes it alone, and everything else dense."""
    others = {w.name for w in graphs.weights(model.graph)} - {name}
    options = {
        "criterion": way.criterion,
        "pattern": way.pattern,
        "schedule": "one-shot",
        "keep_first": False,
        "keep_last": False,
        "exclude": tuple(others),
    }
    if ":" not in way.pattern:
        options["sparsity"] = sparsity
    asked = sources.from_data(model, data(), images=count, threads=1)
    recipe = recipes.Recipe((recipes.build("prune", options),))
    made = pipeline.apply(model, recipe, grams=asked.grams, gradients=asked.gradients)
    return made.constants()[name].values * graphs.masks(made.graph)[name].values


@pytest.mark.parametrize("network_name", NAMES)
@pytest.mark.parametrize(
    ("criterion", "pattern", "sparsity"),
    [
        ("magnitude", "unstructured", 0.7),
        ("random", "unstructured", 0.9),
        ("taylor", "unstructured", 0.5),
        ("obd", "4x1", 0.5),
        ("magnitude", "2:4", 0.5),
        ("obs", "unstructured", 0.6),
    ],
)
def test_every_criterion_and_pattern(
    network_name: str, criterion: str, pattern: str, sparsity: float
) -> None:
    """obs to 1e-4: Gram matrices of the layers together come from a session of another size."""
    model = network(network_name)
    way = Way(criterion, pattern)
    one = alone(model, way)
    for name in way.plan(model).names[::3]:
        found, expected = one.values(name, sparsity), by_the_pass(model, way, name, sparsity)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 if criterion == "obs" else 0)
        assert np.mean(found == 0) == pytest.approx(sparsity, abs=0.05)


def test_magnitude_takes_the_smallest() -> None:
    model = network("resnet")
    one = alone(model, Way())
    values = model.constants()["onnx::Conv_129"].values
    np.testing.assert_array_equal(one.values("onnx::Conv_129", 0.9), smallest_away(values, 0.9))


def test_the_model_stays_as_it_is() -> None:
    model = network("mobilenet")
    before = {name: tensor.values.copy() for name, tensor in model.constants().items()}
    one = alone(model, Way("obs"))
    for name in Way("obs").plan(model).names:
        first = one.values(name, 0.5)
        assert np.count_nonzero(one.values(name, 0.9)) < np.count_nonzero(first)
        np.testing.assert_array_equal(one.values(name, 0.5), first)
    assert before.keys() == model.constants().keys()
    for name, tensor in model.constants().items():
        np.testing.assert_array_equal(tensor.values, before[name])


def test_gram_matrices_come_several_at_a_time_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("mobilenet")
    asked = sources.from_data(model, data(), images=4, threads=1)
    assert asked.grams is not None
    calls: list[list[str]] = []

    class Counted:
        def grams(self, model: Model, layers: Sequence[graphs.Weight]) -> dict[str, np.ndarray]:
            calls.append([layer.name for layer in layers])
            assert asked.grams is not None
            return asked.grams.grams(model, layers)

    way = Way("obs")
    plan = way.plan(model)
    sizes = {weight.name: gram_size(weight) for weight in graphs.weights(model.graph)}
    monkeypatch.setattr(module, "GRAM_VALUES", sum(sizes.values()) // 2)
    one = Alone(model, way, plan, sources.Sources(grams=Counted()))
    for name in plan.names:
        for sparsity in (0.5, 0.9):
            one.values(name, sparsity)
    assert 2 <= len(calls) < len(plan.names)
    assert sorted(name for call in calls for name in call) == sorted(plan.names)
    for call in calls:
        assert sum(sizes[name] for name in call) <= module.GRAM_VALUES or len(call) == 1


@pytest.mark.parametrize("name", ["mobilenet", "mlp", "vit"])
def test_the_size_of_a_gram_matrix(name: str) -> None:
    model = network(name)
    asked = sources.from_data(model, data(), images=2, threads=1)
    assert asked.grams is not None
    for weight in graphs.weights(model.graph):
        assert asked.grams.grams(model, [weight])[weight.name].size == gram_size(weight)
