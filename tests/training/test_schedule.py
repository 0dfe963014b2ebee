"""Tests of onnxcomp.training.schedule."""

from __future__ import annotations

import math

import pytest

from onnxcomp.training.schedule import cosine


def test_rises_linearly_then_falls_as_half_a_cosine():
    rates = [cosine(step, 100, peak=0.2, warmup=0.1) for step in range(100)]
    assert rates[:3] == pytest.approx([0.2 / 11, 0.4 / 11, 0.6 / 11], rel=1e-12)
    assert rates[10] == 0.2 == max(rates)
    assert rates[55] == pytest.approx(0.1 * (1 + math.cos(math.pi / 2)), rel=1e-12)
    assert rates[11:] == sorted(rates[11:], reverse=True)
    assert 0 < rates[99] < 1e-3


@pytest.mark.parametrize("total", [1, 2, 3])
def test_the_shortest_runs_move(total):
    assert all(0 < cosine(step, total, peak=1.0, warmup=0.5) <= 1 for step in range(total))


def test_without_warmup_the_first_step_has_the_peak():
    assert cosine(0, 10, peak=0.3, warmup=0.0) == 0.3
