"""Gradient clipping."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from onnxcomp.errors import TrainingError
from onnxcomp.training.blocks import Array

RUN = 1 << 13
"""Elements whose squares BLAS adds in float32; few enough that it keeps to one thread, so the bits do not
hang on how many it has."""
_RANGE = (1e-30, 1e30)
"""Of a run's sum of squares that is as exact in float32 as it need be."""


def norm(gradients: Mapping[str, Array]) -> float:
    """The Euclidean norm of all ``gradients`` together, float32 arrays by name.

    Runs of :data:`RUN` elements are added in float64, which keeps the relative error near 1e-8; a run
    that leaves float32's range is squared in float64.
    """
    total = 0.0
    with np.errstate(over="ignore"):
        for gradient in gradients.values():
            values = gradient.reshape(-1)
            for start in range(0, values.size, RUN):
                total += _square(values[start : start + RUN])
    return math.sqrt(total)


def _square(run: Array) -> float:
    square = float(np.dot(run, run))
    if _RANGE[0] < square < _RANGE[1]:
        return square
    exact = run.astype(np.float64)
    return float(np.dot(exact, exact))


def clip_norm(gradients: Mapping[str, Array], limit: float, *, size: float | None = None) -> float:
    """Scale ``gradients`` in place so that their norm is at most ``limit``.

    As ``torch.nn.utils.clip_grad_norm_(..., error_if_nonfinite=True)``: the factor is
    ``limit / (norm + 1e-6)`` where that is below 1. Pascanu et al. 2013, arXiv 1211.5063, algorithm 1.

    Args:
        gradients: writable float32 arrays by name; of those that an optimiser moves, as frozen ones have
            none in PyTorch.
        limit: above 0.
        size: their :func:`norm`, where it is known already.

    Returns:
        The norm before.

    Raises:
        TrainingError: ``limit`` is out of range, or the norm is not a finite number.
    """
    check_limit(limit)
    before = norm(gradients) if size is None else size
    if not math.isfinite(before):
        raise TrainingError(
            f"the norm of the gradients is {before}", where="train", fix="lower --lr or check the weights"
        )
    factor = limit / (before + 1e-6)
    if factor < 1:
        for gradient in gradients.values():
            np.multiply(gradient, factor, out=gradient)
    return before


def check_limit(limit: float) -> None:
    """Refuse a limit that is not a number above 0.

    Raises:
        TrainingError: names the option.
    """
    if not 0 < limit < math.inf:
        raise TrainingError(f"{limit:g} is out of range", where="--clip", fix="give a number above 0")
