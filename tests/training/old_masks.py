"""How masks closed when magnitudes and the cubic schedule were all there was: a frozen reference.

Whole arrays instead of pieces, and a stable sort instead of a partition; the numbers are the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

KEEP = 0.02


def steps_and_shares(
    sparsity: float, initial: float, begin: float, end: float, frequency: int, steps: int
) -> dict[int, float]:
    """The share of zeros that each update brings, by its step (Zhu & Gupta 2017, eq. 1)."""
    last = max(steps - 1, 0)
    first = min(round(begin * steps), last)
    final = min(max(round(end * steps), first), last)
    every = max(1, min(frequency, (final - first) // 10))
    found = {0: initial}
    for step in range(first, final + 1):
        if step == final or (step - first) % every == 0:
            left = 1 - (step - first) / (final - first) if step < final else 0
            found[step] = sparsity + (initial - sparsity) * left**3 if step < final else sparsity
    return found


def update(
    weights: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray], share: float, allocation: str
) -> None:
    """Close ``masks`` in place until ``share`` of the weights is masked."""
    for names in [[name] for name in weights] if allocation == "uniform" else [list(weights)]:
        scores = []
        for name in names:
            score = np.abs(weights[name]).reshape(-1)
            score[masks[name].reshape(-1) == 0] = -1
            if allocation == "global":
                kept = max(1, round(KEEP * score.size))
                score[np.argpartition(score, score.size - kept)[score.size - kept :]] = np.inf
            scores.append(score)
        flat = np.concatenate(scores)
        count = min(round(share * flat.size), int(np.isfinite(flat).sum()))
        closed = np.ones(flat.size, np.float32)
        closed[np.argsort(flat, kind="stable")[:count]] = 0
        starts = np.cumsum([0, *(score.size for score in scores)])
        for name, start, end in zip(names, starts[:-1], starts[1:], strict=True):
            masks[name][closed[start:end].reshape(masks[name].shape) == 0] = 0
