"""How much of a network's answer quantisation leaves: SQNR of the logits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import islice

import numpy as np

from onnxcomp.model import Model
from onnxcomp.passes.base import Array, Calibration


def sqnr(reference: Iterable[Array], candidate: Iterable[Array]) -> float:
    """Signal-to-quantisation-noise ratio in dB: ``10 log10(sum r^2 / sum (r - c)^2)`` over all batches.

    Args:
        reference, candidate: batches of equal shapes; infinite where they are equal.
    """
    signal = noise = 0.0
    for left, right in zip(reference, candidate, strict=True):
        exact = left.astype(np.float64)
        signal += float((exact**2).sum())
        noise += float(((exact - right) ** 2).sum())
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal else -math.inf


def logits(model: Model, calibration: Calibration, batches: int | None = None) -> list[Array]:
    """The logits on the images of calibration, or on its first batches; each float32 (B, classes)."""
    name = model.logits.name
    return [found[name].copy() for found in islice(calibration.run(model, [name]), batches)]
