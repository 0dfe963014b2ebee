"""Optimal Brain Surgeon through whole networks: what the outputs lose, in which pattern, in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp.errors import PassError
from onnxcomp.grams import ImageGrams
from onnxcomp.model import Model, from_proto
from onnxcomp.passes.prune import Prune
from onnxcomp.passes.prune import reconstruct as module
from onnxcomp.recipe import Recipe
from tests import run, zoo
from tests.builder import Builder

NETWORKS = [*zoo.ALL, "vit"]


def network(name: str) -> Model:
    return from_proto((zoo.ALL | zoo.MORE)[name]())


def images(model: Model, seed: int, count: int = 64) -> np.ndarray:
    """Mixtures of a few patterns and some noise: unlike white noise, inputs that depend on each other."""
    shape = model.image_shape
    patterns = np.random.default_rng(0).standard_normal((20, int(np.prod(shape))))
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((count, 20)) @ patterns / 4 + rng.standard_normal((count, 1)) / 4
    return mixed.reshape(count, *shape).astype(np.float32)


@dataclass
class Watched:
    """Gram matrices of random images; notes, at each question, which weights of the network have zeros."""

    seed: int = 1
    asked: list[list[str]] = field(default_factory=list)
    pruned: list[set[str]] = field(default_factory=list)

    def grams(self, model: Model, layers: Sequence[graphs.Weight]) -> dict[str, np.ndarray]:
        self.asked.append([layer.name for layer in layers])
        every = {weight.name: weight.tensor.values for weight in graphs.weights(model.graph)}
        self.pruned.append({name for name, values in every.items() if not values.all()})
        batch = images(model, self.seed)
        return ImageGrams(lambda: [batch], threads=1).grams(model, layers)


class Unequal:
    """Gradients that make the last weight the dearest."""

    def per_batch(self, model: Model, names: Sequence[str]) -> Iterator[Mapping[str, np.ndarray]]:
        constants = model.constants()
        for sign in (-1.0, 1.0):
            yield {
                name: np.full(constants[name].shape, sign * 10**place, np.float32)
                for place, name in enumerate(names)
            }


def applied(
    model: Model, grams: Watched | None = None, gradients: Unequal | None = None, **options: Any
) -> Model:
    chosen = Prune(schedule="one-shot", keep_first=False, keep_last=False, **options)
    return pipeline.apply(model, Recipe((chosen,)), grams=grams, gradients=gradients)


def loss_of_outputs(model: Model, other: Model) -> float:
    """Relative squared error on images that nothing was fitted to."""
    unseen = images(model, seed=7)
    expected, found = run.logits(model, unseen), run.logits(other, unseen)
    return float(((found - expected) ** 2).sum() / (expected**2).sum())


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_lose_less_than_by_magnitude(name: str) -> None:
    model = network(name)
    magnitude = applied(model, allocation="uniform", sparsity=0.5)
    surgeon = applied(model, Watched(), allocation="uniform", sparsity=0.5, criterion="obs")
    assert loss_of_outputs(model, surgeon) < 0.7 * loss_of_outputs(model, magnitude)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_uniform_share_is_met_in_every_weight(name: str) -> None:
    model = network(name)
    before = {weight.name: weight.tensor.values.copy() for weight in graphs.weights(model.graph)}
    result = applied(model, Watched(), allocation="uniform", sparsity=0.7, criterion="obs")
    constants = result.constants()
    masks = graphs.masks(result.graph)
    assert masks.keys() == before.keys()
    for weight, mask in masks.items():
        assert mask.values.dtype == constants[weight].values.dtype == np.float32
        assert np.count_nonzero(mask.values == 0) == round(0.7 * mask.values.size)
        assert not constants[weight].values[mask.values == 0].any()
        # The argument of `apply` is left as it is, its values too.
        np.testing.assert_array_equal(model.constants()[weight].values, before[weight])


@pytest.mark.parametrize("gradients", [None, Unequal()])
def test_a_global_share_is_met_by_all_together(gradients: Unequal | None) -> None:
    result = applied(network("densenet"), Watched(), gradients, sparsity=0.7, criterion="obs")
    masks = [mask.values for mask in graphs.masks(result.graph).values()]
    shares = [float((mask == 0).mean()) for mask in masks]
    assert sum(int((mask == 0).sum()) for mask in masks) == round(0.7 * sum(mask.size for mask in masks))
    assert max(shares) - min(shares) > 0.05
    assert max(shares) <= 0.985
    if gradients:
        assert shares[-1] == 0
        assert shares[0] > 0.97


def test_n_of_m_holds_in_every_group() -> None:
    model = network("densenet")
    result = applied(model, Watched(), pattern="2:4", criterion="obs")
    magnitude = applied(model, pattern="2:4")
    constants, masks = result.constants(), graphs.masks(result.graph)
    assert len(masks) > 5
    for name, mask in masks.items():
        values = np.moveaxis(constants[name].values, 1, -1)
        assert np.all(np.count_nonzero(values.reshape(-1, 4), axis=1) <= 2)
        assert mask.values.mean() == 0.5
    assert loss_of_outputs(model, result) < 0.7 * loss_of_outputs(model, magnitude)


def test_matrices_are_of_the_dense_network_and_fit_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("densenet")
    options: dict[str, Any] = {"allocation": "uniform", "sparsity": 0.5, "criterion": "obs"}
    once, often = Watched(), Watched()
    expected = applied(model, once, **options).constants()
    monkeypatch.setattr(module, "BUDGET", 20_000)
    found = applied(model, often, **options).constants()
    assert len(once.asked) == 1 < len(often.asked)
    assert [name for stage in often.asked for name in stage] == once.asked[0]
    assert not any(often.pruned)
    columns = {w.name: w.tensor.values.size // w.tensor.shape[w.axis] for w in graphs.weights(model.graph)}
    for stage in often.asked:
        assert len(stage) == 1 or sum(columns[name] ** 2 for name in stage) <= 20_000
    for name in columns:
        np.testing.assert_array_equal(found[name].values, expected[name].values)


def transposed() -> onnx.ModelProto:
    net = Builder(0)
    x = net.node("ConvTranspose", ["input", net.constant("w", net.he(3, 4, 2, 2))], "y", "up")
    x = net.node("Flatten", [net.node("GlobalAveragePool", [x], "pooled")], "flat")
    x = net.node("Gemm", [x, net.constant("v", net.he(4, 10))], "logits", "last")
    return net.model(x, 17, ("N", 3, 8, 8), 10)


def test_what_has_no_gram_matrix_is_refused_at_once() -> None:
    watched = Watched()
    with pytest.raises(
        PassError, match=r"prune: node up: criterion obs knows no ConvTranspose .*prune.exclude"
    ):
        applied(from_proto(transposed()), watched, criterion="obs")
    assert not watched.asked
