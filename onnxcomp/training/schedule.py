"""The learning rate over a run."""

from __future__ import annotations

import math


def cosine(step: int, total: int, *, peak: float, warmup: float) -> float:
    """Learning rate of step ``step`` (0 to ``total - 1``): linear warm-up, then half a cosine to 0.

    Loshchilov & Hutter 2017, equation 5 without restarts; the last step still moves.

    Args:
        total: number of steps of the whole run.
        peak: the rate at the end of the warm-up.
        warmup: share of ``total`` spent warming up, 0 to below 1.
    """
    rising = round(total * warmup)
    if step < rising:
        return peak * (step + 1) / (rising + 1)
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(total - rising, 1)))
