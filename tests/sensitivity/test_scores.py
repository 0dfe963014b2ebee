from __future__ import annotations

import math

import numpy as np
import pytest

from onnxcomp.sensitivity.scores import Compared, compared, cross_entropies, point

LABELS = np.array([0, 1, 1])
LOGITS = np.array([[2, 1], [0, 3], [1, 0]], np.float32)


def test_accuracy_and_loss_by_hand() -> None:
    found = point(LOGITS, LABELS)
    assert found.top1 == pytest.approx(200 / 3, abs=1e-12)
    expected = [math.log(1 + math.exp(-1)), math.log(1 + math.exp(-3)), math.log(1 + math.exp(1))]
    assert found.loss == pytest.approx(sum(expected) / 3, abs=1e-7)  # of float32 logits


def test_sqnr_by_hand() -> None:
    """Squares of 4 + 1 + 9 + 1 = 15 beside an error of 0.5 once: 10 log10(15 / 0.25) dB."""
    other = LOGITS.copy()
    other[1, 0] += 0.5
    found = compared(other, LOGITS, LABELS)
    assert found.sqnr == pytest.approx(10 * math.log10(60), abs=1e-9)
    assert found.decibels == found.sqnr


def test_equal_logits_have_no_noise() -> None:
    found = compared(LOGITS, LOGITS, LABELS)
    assert found == Compared(found.top1, found.loss, None)
    assert found.decibels == math.inf


def test_cross_entropy_of_large_logits() -> None:
    logits = np.array([[1e4, 0, 0], [0, 0, 0]], np.float32)
    found = cross_entropies(logits, np.array([1, 2]))
    np.testing.assert_allclose(found, [1e4, math.log(3)], rtol=1e-12)
