"""Networks with channels scaled at random, and what that may change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxcomp.model import Model
from onnxcomp.passes.qat.scaling import Scaling, find, scale
from tests import run

Logits = Callable[[Model, np.ndarray], np.ndarray]

TOLERANCE = 1e-5
"""Of logits, relative to the largest: float32 rounds other numbers."""


def scaled(model: Model, seed: int = 0, *, octaves: float = 2) -> Model:
    """A copy in which each channel that can be scaled is, by its own factor."""
    result = model.copy()
    scaling = find(result.graph)
    scale(scaling, 2 ** np.random.default_rng(seed).uniform(-octaves, octaves, scaling.size))
    return result


def changed(before: Model, after: Model) -> set[str]:
    """Names of the constants that differ."""
    old = before.constants()
    return {
        name
        for name, constant in after.constants().items()
        if name not in old or not np.array_equal(old[name].values, constant.values)
    }


def assert_same(before: Model, after: Model, *, logits: Logits = run.logits) -> None:
    """``logits``: of deep networks in float64; what float32 kernels round adds up to the tolerance."""
    images = run.images(before, 4)
    expected, found = (logits(model, images) for model in (before, after))
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def check(model: Model) -> set[str]:
    """Scale ``model`` at random; the answers stay. Returns the constants that changed."""
    after = scaled(model)
    assert_same(model, after)
    return changed(model, after)


def free(model: Model) -> Scaling:
    return find(model.graph)
