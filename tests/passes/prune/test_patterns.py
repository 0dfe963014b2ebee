"""Patterns: what they close, beside Polygraphy's 2:4, and what their text may be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from onnxcomp.passes.prune import patterns
from onnxcomp.passes.prune.patterns import NM, Blocks, Pattern, Unstructured


def close(pattern: Pattern, scores: np.ndarray) -> np.ndarray:
    """A mask with all units closed."""
    mask = np.ones(scores.shape, np.float32)
    pattern.close(mask, scores, np.ones(scores.size // pattern.size, np.bool_))
    return mask


@given(
    shape=st.sampled_from([(3, 4), (2, 8, 3, 3), (5, 12, 1, 1), (1, 4, 1, 7)]),
    levels=st.sampled_from([1, 2, 1000]),
    seed=st.integers(0, 999),
)
def test_two_of_four_is_polygraphy_s(shape: tuple[int, ...], levels: int, seed: int) -> None:
    """With ties too; for weights without zeros, which Polygraphy's result cannot be told from."""
    rng = np.random.default_rng(seed)
    weight = (rng.integers(1, levels + 1, shape) * rng.choice([-1, 1], shape)).astype(np.float32)
    from polygraphy.tools.sparse import PruneInfo, process_tensor

    with np.errstate(over="ignore"):  # it compares with the largest float64
        theirs = process_tensor(PruneInfo("w", 1), numpy_helper.from_array(weight, "w"), False)
    assert np.array_equal(close(NM(2, 4), np.abs(weight)) != 0, numpy_helper.to_array(theirs) != 0)


@pytest.mark.parametrize(("kept", "size"), [(1, 2), (1, 8), (5, 8), (7, 16), (3, 300)])
def test_any_n_of_any_m(kept: int, size: int) -> None:
    scores = np.random.default_rng(0).integers(0, 5, (3, 2 * size, 2)).astype(np.float32)
    mask = close(NM(kept, size), scores)
    order = np.argsort(np.swapaxes(scores.reshape(3, 2, size, 2), 2, 3), axis=-1, kind="stable")
    expected = np.ones(order.shape, np.float32)
    np.put_along_axis(expected, order[..., : size - kept], 0, axis=-1)
    assert np.array_equal(np.swapaxes(mask.reshape(3, 2, size, 2), 2, 3), expected)


def test_costs_are_sums_of_what_goes() -> None:
    scores = np.array([[4, 1, 3, 2], [1, 1, 1, 1]], np.float32)
    assert Unstructured().costs(scores).tolist() == scores.reshape(-1).tolist()
    assert NM(2, 4).costs(scores).tolist() == [3, 2]
    assert NM(1, 2).costs(scores).tolist() == [1, 2, 1, 1]
    assert Blocks(2, 1).costs(scores).tolist() == [5, 2, 4, 3]
    assert Blocks(1, 2).costs(scores).tolist() == [5, 5, 2, 2]


@pytest.mark.parametrize("pattern", [Unstructured(), NM(2, 4), Blocks(2, 2)], ids=str)
def test_only_chosen_units_close_in_a_view_too(pattern: Pattern) -> None:
    whole = np.ones((3, 4, 2, 8), np.float32)
    view = np.moveaxis(whole, (1, 3), (0, 1))  # (4, 8, 3, 2)
    scores = np.random.default_rng(1).random(view.shape, np.float32)
    chosen = np.zeros(view.size // pattern.size, np.bool_)
    chosen[5] = True
    pattern.close(view, scores, chosen)
    assert int((whole == 0).sum()) == pattern.gone
    lost = float(scores[view == 0].sum())
    assert lost == pytest.approx(float(pattern.costs(scores)[5]), rel=1e-6)


def test_a_unit_lies_at_one_position_of_the_kernel() -> None:
    scores = np.ones((2, 4, 3, 3), np.float32)
    for pattern, place in ((NM(2, 4), np.s_[0, :, 0, 1]), (Blocks(2, 4), np.s_[:, :, 0, 1])):
        mask = np.ones_like(scores)
        chosen = np.zeros(scores.size // pattern.size, np.bool_)
        chosen[1] = True
        pattern.close(mask, scores, chosen)
        assert int((mask[place] == 0).sum()) == int((mask == 0).sum()) == pattern.gone


@pytest.mark.parametrize(
    ("text", "pattern", "zeros"),
    [
        ("unstructured", Unstructured(), 1),
        ("2:4", NM(2, 4), 0.5),
        ("1:4", NM(1, 4), 0.75),
        ("7:8", NM(7, 8), 0.125),
        ("4x1", Blocks(4, 1), 1),
        ("2x16", Blocks(2, 16), 1),
    ],
)
def test_parse(text: str, pattern: Pattern, zeros: float) -> None:
    found = patterns.parse(text)
    assert found == pattern
    assert found.zeros == zeros == found.gone / found.size


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("5:4", "it keeps 5 of 4 weights; N:M needs 0 < N < M"),
        ("4:4", "it keeps 4 of 4 weights"),
        ("0:4", "it keeps 0 of 4 weights"),
        ("0:0", "it keeps 0 of 0 weights"),
        ("1x1", "two sides of at least 1, one of them longer"),
        ("0x4", "two sides of at least 1"),
        ("2:5000", "numbers up to 1024"),
        ("9999999999:2", "give unstructured, N:M such as 2:4, or blocks such as 4x1"),
        ("2 : 4", "give unstructured"),
        ("-2:4", "give unstructured"),
        ("", "give unstructured"),
        ("2:4\n", "give unstructured"),
    ],
)
def test_bad_text(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        patterns.parse(text)


def test_obstacles() -> None:
    assert Unstructured().obstacle(3, 5) == ""
    assert NM(2, 4).obstacle(3, 8) == Blocks(3, 4).obstacle(3, 8) == ""
    assert NM(2, 4).obstacle(3, 6) == "6 inputs are not divisible by 4"
    assert Blocks(4, 1).obstacle(3, 6) == "3 outputs are not divisible by 4"
    assert NM(2, 4).obstacle(1, 1) == "1 input is not divisible by 4"
    assert Blocks(1, 4).obstacle(3, 6) == "6 inputs are not divisible by 4"
