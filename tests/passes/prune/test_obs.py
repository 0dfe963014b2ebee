"""The solver against Optimal Brain Surgeon as it is written: one weight at a time, in float64."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.passes import layerwise
from onnxcomp.passes.prune import obs


def layer(
    groups: int = 1, outputs: int = 5, columns: int = 12, positions: int = 40, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """A weight and the Gram matrix of correlated inputs of very different sizes."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((groups, columns, columns)) @ rng.standard_normal(
        (groups, columns, positions)
    )
    inputs = mixed * rng.uniform(0.2, 3, (groups, columns, 1))
    weight = rng.standard_normal((groups, outputs, columns)).astype(np.float32)
    return weight, (inputs @ inputs.transpose(0, 2, 1)).astype(np.float32)


def uniform(sparsity: float, rounds: int = obs.ROUNDS) -> obs.Select:
    """Closes the cheapest of the whole layer, more from round to round."""

    def select(scores: np.ndarray, turn: int) -> np.ndarray:
        count = round(scores.size * sparsity * (turn + 1) / rounds)
        mask = np.ones(scores.size, np.float32)
        mask[np.argsort(scores, axis=None, kind="stable")[:count]] = 0
        return mask.reshape(scores.shape)

    return select


def surgeon(weight: np.ndarray, gram: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Hassibi & Stork 1992, eq. 5, for each weight that ``mask`` closes, from left to right.

    Removing weight q moves all by ``-w_q / [H^-1]_qq H^-1 e_q``; then q leaves the inverse by one step of
    Gaussian elimination.
    """
    result = weight.astype(np.float64)
    for group, output in np.ndindex(*weight.shape[:2]):
        inverse = np.linalg.inv(gram[group].astype(np.float64))
        row = result[group, output]
        for q in np.flatnonzero(mask[group, output] == 0):
            row -= row[q] / inverse[q, q] * inverse[q]
            inverse -= np.outer(inverse[:, q], inverse[q]) / inverse[q, q]
    return result


def error(weight: np.ndarray, other: np.ndarray, gram: np.ndarray) -> float:
    change = (weight - other).astype(np.float64)
    return float(np.einsum("gik,gkl,gil->", change, gram.astype(np.float64), change))


@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.9])
def test_equals_removal_of_one_weight_at_a_time(groups: int, sparsity: float) -> None:
    weight, gram = layer(groups)
    found, mask = obs.prune(weight, gram, uniform(sparsity))
    expected = surgeon(weight, layerwise.damped(gram), mask)
    assert found.dtype == mask.dtype == np.float32
    # Weights are near 1; as many steps as columns are exact but for float32's rounding.
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert np.all(found[mask == 0] == 0)
    assert np.count_nonzero(mask == 0) == round(sparsity * mask.size)


def test_the_score_is_the_error_that_one_removal_leaves() -> None:
    weight, gram = layer(2)
    hessian = layerwise.damped(gram)
    scores = obs.saliency(weight, obs.inverse_diagonal(hessian))
    for place in np.ndindex(weight.shape):
        mask = np.ones_like(weight)
        mask[place] = 0
        left = error(weight, surgeon(weight, hessian, mask), hessian)
        assert scores[place] == pytest.approx(left / 2, rel=1e-3)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("shape", "most"), [((1, 16, 200), 0.6), ((4, 2, 9), 0.95)])
def test_the_update_lowers_the_error_of_the_same_mask(
    shape: tuple[int, int, int], most: float, seed: int
) -> None:
    weight, gram = layer(*shape, positions=500, seed=seed)
    found, mask = obs.prune(weight, gram, uniform(0.7))
    assert error(weight, found, gram) < most * error(weight, weight * mask, gram)


@pytest.mark.parametrize("sparsity", [0.5, 0.8])
def test_several_rounds_choose_better_than_one(sparsity: float) -> None:
    weight, gram = layer(1, 32, 100, positions=400)
    once, _ = obs.prune(weight, gram, uniform(sparsity, 1), rounds=1)
    found, mask = obs.prune(weight, gram, uniform(sparsity))
    assert error(weight, found, gram) < 0.9 * error(weight, once, gram)
    assert np.count_nonzero(mask == 0) == round(sparsity * mask.size)


def test_weights_of_inputs_that_are_always_0_cost_the_damping_alone_and_stay_as_they_are() -> None:
    weight, gram = layer(1, 8, 20)
    gram[:, 10:] = gram[:, :, 10:] = 0
    hessian = layerwise.damped(gram, 0.01)
    scores = obs.saliency(weight, obs.inverse_diagonal(hessian))
    damping = 0.01 * np.trace(gram[0]) / 20
    np.testing.assert_allclose(scores[..., 10:], damping * weight[..., 10:] ** 2 / 2, rtol=1e-5)
    found, mask = obs.prune(weight, gram, uniform(0.5))
    assert mask[..., 10:].sum() < 0.25 * mask.sum()
    np.testing.assert_allclose(found[..., 10:], (weight * mask)[..., 10:], rtol=1e-5)


def test_a_layer_without_any_input_is_pruned_by_magnitude() -> None:
    weight, gram = layer(1, 8, 20)
    found, mask = obs.prune(weight, np.zeros_like(gram), uniform(0.5))
    assert np.abs(weight[mask == 0]).max() <= np.abs(weight[mask == 1]).min()
    np.testing.assert_array_equal(found, weight * mask)


def test_nothing_is_left_of_an_output_without_weights() -> None:
    weight, gram = layer()
    kept = np.ones_like(weight)
    kept[0, 2] = 0
    found, _ = obs.prune(weight, gram, lambda scores, turn: kept)
    assert not found[0, 2].any()
    np.testing.assert_array_equal(found[0, :2], weight[0, :2])


def test_many_columns_are_scored_by_the_diagonal(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, gram = layer()
    hessian = layerwise.damped(gram)
    exact = obs.inverse_diagonal(hessian)
    monkeypatch.setattr(obs, "EXACT", 11)
    diagonal = obs.inverse_diagonal(hessian)
    np.testing.assert_allclose(diagonal, 1 / np.diagonal(hessian, axis1=1, axis2=2))
    assert np.all(diagonal < exact)
    found, mask = obs.prune(weight, gram, uniform(0.5))
    np.testing.assert_allclose(found, surgeon(weight, hessian, mask), rtol=1e-3, atol=1e-3)
