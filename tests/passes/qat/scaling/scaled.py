"""Networks with channels scaled at random, and what that may change."""

from __future__ import annotations

import numpy as np

from onnxcomp.model import Model
from onnxcomp.passes.qat.scaling import Scaling, find, scale
from tests import run

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


def assert_same(before: Model, after: Model, *, tolerance: float = TOLERANCE) -> None:
    images = run.images(before, 4)
    expected = run.logits(before, images)
    np.testing.assert_allclose(
        run.logits(after, images), expected, rtol=0, atol=tolerance * np.abs(expected).max()
    )


def check(model: Model) -> set[str]:
    """Scale ``model`` at random; the answers stay. Returns the constants that changed."""
    after = scaled(model)
    assert_same(model, after)
    return changed(model, after)


def free(model: Model) -> Scaling:
    return find(model.graph)
