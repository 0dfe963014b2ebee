"""Which weights are pruned: the smallest by magnitude (Han et al. 2015, arXiv 1506.02626)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

KEEP = 0.02
"""Share of every tensor that global pruning never touches: a layer that vanishes cuts the network."""


def update(
    weights: Mapping[str, Array], masks: Mapping[str, Array], sparsity: float, allocation: str
) -> None:
    """Close the masks, in place, until ``sparsity`` of all weights is masked.

    A weight once masked stays masked. Ties are broken by position, so the count is exact and the
    result depends on nothing but the values.

    Args:
        weights: float32 by name.
        masks: float32 of zeros and ones, of the same names and shapes.
        sparsity: share of the weights that shall be zero, 0 to 1.
        allocation: ``uniform`` prunes every tensor to ``sparsity``; ``global`` ranks all weights
            together and keeps at least :data:`KEEP` of each tensor.
    """
    if allocation == "uniform":
        for name, weight in weights.items():
            scores = _scores(weight, masks[name])
            _close(masks[name], _smallest(scores, round(sparsity * weight.size)))
        return
    names = list(weights)
    sizes = [weights[name].size for name in names]
    scores = np.concatenate([_protect(_scores(weights[n], masks[n])) for n in names])
    chosen = _smallest(scores, round(sparsity * scores.size))
    bounds = np.cumsum([0, *sizes])
    positions = np.searchsorted(chosen, bounds)
    for index, name in enumerate(names):
        inside = chosen[positions[index] : positions[index + 1]] - bounds[index]
        _close(masks[name], inside)


def _scores(weight: Array, mask: Array) -> Array:
    scores = np.abs(weight).reshape(-1)
    scores[mask.reshape(-1) == 0] = -1
    return scores


def _protect(scores: Array) -> Array:
    kept = max(1, round(KEEP * scores.size))
    scores[np.argpartition(scores, scores.size - kept)[scores.size - kept :]] = np.inf
    return scores


def _smallest(scores: Array, count: int) -> npt.NDArray[np.intp]:
    """Sorted positions of the ``count`` smallest scores, those at the threshold by position."""
    finite = int(np.isfinite(scores).sum())
    count = min(count, finite)
    if count <= 0:
        return np.empty(0, np.intp)
    threshold = np.partition(scores, count - 1)[count - 1]
    below = np.flatnonzero(scores < threshold)
    tied = np.flatnonzero(scores == threshold)[: count - below.size]
    return np.sort(np.concatenate([below, tied]))


def _close(mask: Array, positions: npt.NDArray[np.intp]) -> None:
    mask.reshape(-1)[positions] = 0


def sparsity_of(masks: Mapping[str, Array]) -> float:
    """Share of all masked positions that is zero."""
    total = sum(mask.size for mask in masks.values())
    return 1 - sum(int(np.count_nonzero(mask)) for mask in masks.values()) / total if total else 0.0
