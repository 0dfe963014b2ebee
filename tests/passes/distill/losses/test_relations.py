"""Relational distillation against the paper's formulas, and its gradient."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxcomp.errors import PassError
from onnxcomp.passes.distill import losses
from tests.passes.distill.losses import formulas
from tests.passes.distill.losses.building import OPSETS, Build, assert_formula, gradient, graph_of, value


def tensors(*shapes: tuple[int, ...], seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def build(distance: float, angle: float) -> Build:
    return lambda g, x: losses.relations(g, x[0], x[1], distance, angle)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("own", "other", "distance", "angle"),
    [
        ((3, 7), (3, 5), 1.0, 2.0),
        ((5, 2, 1, 3), (5, 11), 1.0, 0.0),
        ((4, 3), (4, 2, 2, 1), 0.0, 1.0),
        ((2, 7), (2, 3), 1.0, 2.0),
    ],
)
def test_value_and_gradient(
    opset: int, own: tuple[int, ...], other: tuple[int, ...], distance: float, angle: float
) -> None:
    formula = partial(formulas.relations, distance=distance, angle=angle)
    assert_formula(build(distance, angle), formula, opset, *tensors(own, other))


def test_beyond_delta_the_loss_is_linear() -> None:
    """One image far away: its distance over the mean differs by more than 1."""
    s, t = tensors((5, 3), (5, 3))
    s[0] += np.float32(1000)
    formula = partial(formulas.relations, distance=1.0, angle=0.0)
    lengths = [np.linalg.norm(x[0] - x[1]) for x in (s, t)]
    assert lengths[0] > 100 * lengths[1]
    assert value(build(1.0, 0.0), 17, s, t) == pytest.approx(
        float(formula(*(x.astype(np.float64) for x in (s, t)))), rel=1e-5
    )


@settings(max_examples=20)
@given(seed=st.integers(0, 99), scale=st.floats(0.1, 10))
def test_turned_moved_and_scaled_embeddings_have_the_same_relations(seed: int, scale: float) -> None:
    (s,) = tensors((5, 4), seed=seed)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((4, 4)))
    t = (scale * s.astype(np.float64) @ turn + 1).astype(np.float32)
    assert 0 <= value(build(1.0, 2.0), 17, s, t) < 1e-9


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("case", ["random", "equal images", "all equal"])
def test_few_and_equal_images_are_finite(count: int, case: str) -> None:
    s, t = tensors((count, 4), (count, 6))
    if case == "equal images":
        s[-1], t[-1] = s[0], t[0]
    elif case == "all equal":
        s[:] = s[0]
        t[:] = t[0]
    found = value(build(1.0, 2.0), 17, s, t)
    assert np.isfinite(found)
    assert found >= 0
    assert np.isfinite(gradient(build(1.0, 2.0), 17, s, t)).all()
    if count == 1:
        assert found == 0


@pytest.mark.parametrize("apart", [0.0, 1e-6, 1e-4])
def test_an_image_that_comes_twice_does_not_outweigh_the_others(apart: float) -> None:
    """One over the distance of two embeddings that differ by rounding would be the gradient of an angle."""
    s, t = tensors((6, 7), (6, 5))
    usual = np.abs(gradient(build(1.0, 2.0), 17, s, t)).max()
    s[1] = s[0] * np.float32(1 + apart)
    assert np.abs(gradient(build(1.0, 2.0), 17, s, t)).max() < 2 * usual


def test_images_that_the_student_confuses_are_driven_apart_once_they_differ() -> None:
    s, t = tensors((4, 7), (4, 5))
    s[1] = s[0]
    s[1, 0] += np.float32(1e-4)
    found = gradient(build(1.0, 0.0), 17, s, t)
    assert found[1, 0] < 0 < found[0, 0]


def test_a_weight_of_0_leaves_the_part_out() -> None:
    arrays = tensors((4, 7), (4, 5))
    assert not [
        n for n in graph_of(build(1.0, 0.0), 17, arrays).nodes if "angle" in n.name or n.op == "MatMul"
    ]
    assert not [n for n in graph_of(build(0.0, 1.0), 17, arrays).nodes if "distance" in n.name]
    with pytest.raises(PassError, match="distance and angle are both 0"):
        graph_of(build(0.0, 0.0), 17, arrays)
