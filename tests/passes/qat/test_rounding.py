"""The solver against brute force, against GPTQ as it is written, and against rounding to nearest."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxcomp.passes.layerwise import damped
from onnxcomp.passes.qat import rounding
from onnxcomp.passes.qat.rounding import learn, nearest


def layer(
    groups: int = 1, outputs: int = 6, columns: int = 10, positions: int = 60, seed: int = 0, size: float = 5
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of a few steps and the Gram matrix of correlated inputs of very different sizes."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((groups, columns, columns)) + 2
    inputs = mixing @ rng.standard_normal((groups, columns, positions))
    inputs *= rng.uniform(0.2, 3, (groups, columns, 1))
    rows = (rng.standard_normal((groups, outputs, columns)) * size).astype(np.float32)
    return rows, (inputs @ inputs.transpose(0, 2, 1)).astype(np.float32)


def errors(change: np.ndarray, gram: np.ndarray) -> np.ndarray:
    """Of each output, in float64."""
    exact = change.astype(np.float64)
    return np.einsum("gik,gkl,gil->gi", exact, gram.astype(np.float64), exact)


def brute(row: np.ndarray, gram: np.ndarray) -> float:
    """The least error of one output."""
    choices = np.array(list(product(*zip(np.floor(row), np.ceil(row), strict=True))))
    return float(errors((choices - row)[None], gram[None]).min())


@settings(max_examples=60)
@given(
    groups=st.integers(1, 3),
    outputs=st.integers(1, 4),
    columns=st.integers(1, 80),
    positions=st.integers(1, 100),
    levels=st.sampled_from([1, 7, 127]),
    seed=st.integers(0, 99),
)
def test_properties(groups: int, outputs: int, columns: int, positions: int, levels: int, seed: int) -> None:
    rows, gram = layer(groups, outputs, columns, positions, seed, size=levels / 2)
    found = learn(rows, gram, levels)
    assert found.dtype == np.float32
    assert found.shape == rows.shape
    assert np.array_equal(found, np.rint(found))
    assert np.abs(found).max() <= levels
    assert np.abs(found - np.clip(rows, -levels, levels)).max() < 1
    before, after = errors(nearest(rows, levels) - rows, gram), errors(found - rows, gram)
    # Compared in float32, in which a sum over 80 columns errs by a few 1e-6 of its terms.
    assert np.all(after <= before * (1 + 1e-4) + 1e-4)


@pytest.mark.parametrize("columns", [2, 5, 10])
def test_near_the_optimum(columns: int) -> None:
    best = learned = rounded = 0.0
    for seed in range(8):
        rows, gram = layer(columns=columns, seed=seed)
        found = errors(learn(rows, gram, 127) - rows, gram)
        least = np.array([brute(row, gram[0]) for row in rows[0]])
        assert np.all(found >= least * (1 - 1e-4))
        best, learned = best + least.sum(), learned + found.sum()
        rounded += errors(nearest(rows, 127) - rows, gram).sum()
    assert learned < 1.2 * best
    assert rounded > 1.5 * learned


def gptq(rows: np.ndarray, hessian: np.ndarray) -> np.ndarray:
    """Frantar et al. 2022, eq. 2 and 3, weight after weight with exact inverses in float64.

    The weights of largest inputs first, as ``act-order`` takes them; each to one of its two neighbours.
    """
    found = np.empty(rows.shape)
    for group, output in np.ndindex(*rows.shape[:2]):
        row, left = rows[group, output].astype(np.float64), np.arange(rows.shape[2])
        for q in np.argsort(-np.diagonal(hessian[group]), kind="stable"):
            inverse = np.linalg.inv(hessian[group].astype(np.float64)[np.ix_(left, left)])
            at = int(np.flatnonzero(left == q)[0])
            original = rows[group, output, q]
            found[group, output, q] = np.clip(np.rint(row[q]), np.floor(original), np.ceil(original))
            row[left] -= (row[q] - found[group, output, q]) / inverse[at, at] * inverse[at]
            left = left[left != q]
    return found


@pytest.mark.parametrize("groups", [1, 3])
def test_without_turning_over_it_is_gptq(groups: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "SWEEPS", 0)
    monkeypatch.setattr(rounding, "NARROW", 0)
    monkeypatch.setattr(rounding, "BLOCK", 8)
    rows, gram = layer(groups, columns=21)
    expected = gptq(rows, damped(gram))
    better = errors(expected - rows, gram) < errors(nearest(rows, 127) - rows, gram)
    assert better.mean() > 0.8
    np.testing.assert_array_equal(learn(rows, gram, 127)[better], expected[better])


@pytest.mark.parametrize("narrow", [0, 256])
def test_no_single_choice_is_left_to_turn_over(narrow: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounding, "NARROW", narrow)
    rows, gram = layer(columns=150, positions=400)
    found, hessian = learn(rows, gram, 127), damped(gram)
    least = errors(found - rows, hessian)
    for column in range(rows.shape[2]):
        other = found.copy()
        other[..., column] = np.floor(rows[..., column]) + np.ceil(rows[..., column]) - found[..., column]
        # What is turned over is decided from slopes in float32.
        assert np.all(errors(other - rows, hessian) >= least * (1 - 1e-3))


def test_no_pair_is_left_to_turn_over_in_narrow_layers() -> None:
    rows, gram = layer(groups=2, columns=20)
    found, hessian = learn(rows, gram, 127), damped(gram)
    least = errors(found - rows, hessian)
    for pair in combinations(range(rows.shape[2]), 2):
        other, places = found.copy(), list(pair)
        other[..., places] = (np.floor(rows) + np.ceil(rows) - found)[..., places]
        assert np.all(errors(other - rows, hessian) >= least * (1 - 1e-3))


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, gram = layer(columns=70, positions=300)
    whole = errors(learn(rows, gram, 127) - rows, gram)
    monkeypatch.setattr(rounding, "BLOCK", 9)
    # Ties of float32 may fall otherwise.
    np.testing.assert_allclose(errors(learn(rows, gram, 127) - rows, gram).sum(), whole.sum(), rtol=0.02)


def test_what_lies_on_a_level_stays() -> None:
    rows, gram = layer(columns=40)
    whole = np.rint(rows)
    noise = np.random.default_rng(1).uniform(-1, 1, rows.shape).astype(np.float32) * np.float32(1e-5)
    np.testing.assert_array_equal(learn(whole + noise, gram, 127), whole)
    learned = learn(rows, gram, 127)
    np.testing.assert_array_equal(learn(learned, gram, 127), learned)


def test_inputs_that_are_always_zero_round_to_nearest() -> None:
    rows, gram = layer(groups=2)
    gram[1] = 0
    found = learn(rows, gram, 127)
    np.testing.assert_array_equal(found[1], nearest(rows, 127)[1])
    np.testing.assert_array_equal(learn(rows, np.zeros_like(gram), 127), nearest(rows, 127))
