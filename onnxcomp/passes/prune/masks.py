"""Which weights are pruned: the smallest by magnitude (Han et al. 2015, arXiv 1506.02626)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

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
    groups = [[name] for name in weights] if allocation == "uniform" else [list(weights)]
    for names in groups:
        _close(names, weights, masks, sparsity, protect=allocation != "uniform")


def _close(
    names: Sequence[str],
    weights: Mapping[str, Array],
    masks: Mapping[str, Array],
    sparsity: float,
    *,
    protect: bool,
) -> None:
    """Close the masks of a group that is ranked together.

    The scores are computed twice, because one copy of all of them is what a large network has room for.
    """
    scores = np.empty(sum(weights[name].size for name in names), np.float32)
    start = 0
    for name in names:
        part = _scores(weights[name], masks[name], protect=protect)
        scores[start : start + part.size] = part
        start += part.size
    threshold, ties = _threshold(scores, round(sparsity * scores.size))
    del scores
    for name in names:
        part = _scores(weights[name], masks[name], protect=protect)
        flat = masks[name].reshape(-1)
        flat[part < threshold] = 0
        tied = np.flatnonzero(part == threshold)[:ties]
        flat[tied] = 0
        ties -= tied.size


def _scores(weight: Array, mask: Array, *, protect: bool) -> Array:
    """Magnitudes; -1 where the mask is closed, infinite for the largest, which are to be protected."""
    scores = np.abs(weight).reshape(-1)
    scores[mask.reshape(-1) == 0] = -1
    if protect:
        kept = max(1, round(KEEP * scores.size))
        scores[np.argpartition(scores, scores.size - kept)[scores.size - kept :]] = np.inf
    return scores


def _threshold(scores: Array, count: int) -> tuple[np.float32, int]:
    """The ``count``-th smallest score, and how many that are equal to it belong to the ``count`` smallest.

    Infinite scores are never among them. The order of ``scores`` is lost.
    """
    count = min(count, int(np.isfinite(scores).sum()))
    if count <= 0:
        return np.float32(-np.inf), 0
    scores.partition(count - 1)
    threshold = scores[count - 1]
    return threshold, count - int(np.count_nonzero(scores[:count] < threshold))


def sparsity_of(masks: Mapping[str, Array]) -> float:
    """Share of all masked positions that is zero."""
    total = sum(mask.size for mask in masks.values())
    return 1 - sum(int(np.count_nonzero(mask)) for mask in masks.values()) / total if total else 0.0
