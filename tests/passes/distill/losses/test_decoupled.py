"""Decoupled distillation against the paper's formulas, and its gradient."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from onnxcomp.errors import PassError
from onnxcomp.passes.distill import losses
from tests.passes.distill.losses import formulas
from tests.passes.distill.losses.building import OPSETS, Build, assert_formula, gradient, value


def logits(shape: tuple[int, int], seed: int = 0, size: float = 3.0) -> np.ndarray:
    return (size * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def labels(shape: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(7).integers(0, shape[1], shape[0])


def build(classes: int, **options: float) -> Build:
    chosen: dict[str, Any] = {"temperature": 4.0, "target_weight": 1.0, "others_weight": 8.0, **options}
    return lambda g, x: losses.decoupled(g, x[0], x[1], x[2], classes, **chosen)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("shape", "temperature", "weights"),
    [
        ((3, 10), 4.0, (1.0, 8.0)),
        ((1, 3), 1.0, (1.0, 2.0)),
        ((2, 101), 2.0, (0.0, 1.0)),
        ((3, 2), 1.0, (1.0, 8.0)),
    ],
)
def test_value_and_gradient(
    opset: int, shape: tuple[int, int], temperature: float, weights: tuple[float, float]
) -> None:
    options = {"temperature": temperature, "target_weight": weights[0], "others_weight": weights[1]}
    formula = partial(
        formulas.decoupled, temperature=temperature, target_weight=weights[0], others_weight=weights[1]
    )
    arrays = logits(shape), logits(shape, 1), labels(shape)
    assert_formula(build(shape[1], **options), formula, opset, *arrays)


def test_with_the_share_of_the_others_as_weight_it_is_soft_targets() -> None:
    """Zhao et al. 2022, eq. 6: KD = TCKD + (1 - p_t of the teacher) NCKD."""
    s, t = logits((1, 6)), logits((1, 6), 1)
    target = np.array([2])
    share = 1 - float(np.exp(formulas.log_softmax(t.astype(np.float64) / 4))[0, 2])
    found = value(build(6, others_weight=share), 17, s, t, target)
    assert found == pytest.approx(float(formulas.soft_targets(s, t, 4.0)), rel=1e-5)


def test_equals_have_none() -> None:
    same = logits((4, 10))
    assert abs(value(build(10), 17, same, same, labels((4, 10)))) < 1e-5


def test_a_teacher_that_is_sure_and_extreme_logits_are_finite() -> None:
    target = np.array([0, 1])
    sure = np.array([[80, -80, 0], [-80, 80, -70]], np.float32)
    for s, t in ((logits((2, 3)), sure), (sure, logits((2, 3))), (-sure, sure), (sure, -sure)):
        for temperature in (1.0, 4.0):
            made = build(3, temperature=temperature)
            assert np.isfinite(value(made, 17, s, t, target))
            assert np.isfinite(gradient(made, 17, s, t, target)).all()


SURE = np.array([[0.0, 20.0, -1.0]], np.float32), np.array([[1.0, 21.5, -2.0]], np.float32)


@pytest.mark.parametrize("label", [0, 1])
def test_what_is_left_beside_a_sure_target_keeps_its_digits(label: int) -> None:
    """1 - p is 1e-9 here, which 1 - p in float32 is not; with the sure class as target or as another.

    The gradient by the target's logit is ``p_s - p_t``, by another ``-(p_s - p_t)`` times its share of the
    others: differences of a float64 value of 1e-10 would have no digits.
    """
    s, t = (x.astype(np.float64) for x in SURE)
    made = build(3, temperature=1.0, target_weight=1.0, others_weight=0.0)
    expected = formulas.decoupled(
        s, t, np.array([label]), temperature=1.0, target_weight=1.0, others_weight=0.0
    )
    # The formula itself cancels in float64, by 1e-16 of 1.
    assert value(made, 17, *SURE, np.array([label])) == pytest.approx(float(expected), rel=1e-5, abs=1e-15)
    own, other = np.exp(formulas.log_softmax(s))[0], np.exp(formulas.log_softmax(t))[0]
    others = [i for i in range(3) if i != label]
    exact = np.empty(3)
    exact[label] = other[others].sum() - own[others].sum()
    exact[others] = -exact[label] * own[others] / own[others].sum()
    error = np.abs(gradient(made, 17, *SURE, np.array([label]))[0] - exact).max()
    assert error <= 1e-5 * np.abs(exact).max()


def test_low_temperatures_leave_the_target_out_of_the_others_too() -> None:
    """Softened logits of 16000: whatever stands for the target's there has to be smaller than the others'."""
    s, t = np.array([[80, -80, -75]], np.float32), np.array([[80, -78, -80]], np.float32)
    made = build(3, temperature=0.005, target_weight=0.0, others_weight=1.0)
    # The student is sure of class 2 by 5, the teacher of class 1 by 2: a divergence of 5 / T.
    assert value(made, 17, s, t, np.array([0])) == pytest.approx(0.005**2 * 5 / 0.005, rel=1e-5)


def test_two_classes_have_no_others_to_compare() -> None:
    arrays = logits((5, 2)), logits((5, 2), 1), labels((5, 2))
    made = build(2, target_weight=0.0, others_weight=8.0)
    assert value(made, 17, *arrays) == 0
    assert not gradient(made, 17, *arrays).any()


def test_weights_that_are_both_0_are_refused() -> None:
    with pytest.raises(PassError, match="target_weight and others_weight are both 0"):
        value(build(3, target_weight=0.0, others_weight=0.0), 17, *SURE, np.array([0]))
