"""How much of each weight goes: ranked together, alike, by shape, or by what was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxcomp.passes.prune.plan import Group

Array = npt.NDArray[np.float32]


def each(shares: Mapping[str, float]) -> tuple[Group, ...]:
    """Every weight ranked by itself, to a share of its own."""
    return tuple(Group((name,), share) for name, share in shares.items())


def together(names: Iterable[str], sparsity: float) -> tuple[Group, ...]:
    """All weights ranked together (class-blind in See et al. 2016, arXiv 1606.09274)."""
    return (Group(tuple(names), sparsity),)


def class_distribution(weights: Mapping[str, Array], sparsity: float) -> tuple[Group, ...]:
    """All ranked together, each by its scores over the weight's standard deviation (See et al. 2016).

    That closes ``|w| < lambda sigma_c`` in every weight c, with one lambda for all.
    """
    deviations = tuple(float(np.std(values)) for values in weights.values())
    return (Group(tuple(weights), sparsity, deviations),)


def erk(shapes: Mapping[str, tuple[int, ...]], sparsity: float) -> dict[str, float]:
    """Shares of zeros by Erdos-Renyi-kernel (Evci et al. 2020, arXiv 1911.11134, section 3).

    A weight's density is proportional to the sum of its sizes over their product; those that would get
    more than 1 stay dense, and the others get what is left.

    Returns:
        By name; over all weights the share is ``sparsity``.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    raw = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    dense: set[str] = set()
    left = (1 - sparsity) * sum(sizes.values())
    while len(dense) < len(shapes):
        others = [name for name in shapes if name not in dense]
        factor = (left - sum(sizes[name] for name in dense)) / sum(raw[n] * sizes[n] for n in others)
        full = {name for name in others if factor * raw[name] >= 1}
        if not full:
            return {name: 0.0 if name in dense else 1 - factor * raw[name] for name in shapes}
        dense |= full
    return dict.fromkeys(shapes, 0.0)


def shares_for_drop(curves: Mapping[str, Any], max_drop: float) -> dict[str, float]:
    """For each layer by itself, how sparse it can be within a drop of accuracy.

    Args:
        curves: what `onnxcomp sensitivity` writes: ``dense`` with ``top1`` in percent, and ``layers``: by
            weight name, by sparsity as text, the same with that layer alone pruned.
        max_drop: points of top-1 accuracy.

    Returns:
        By weight name the largest share of zeros, at most the largest measured, at which the drop, linear
        between the measured shares and 0 at none, is at most ``max_drop``.
    """
    dense = float(curves["dense"]["top1"])
    return {
        name: _largest([(float(share), dense - float(at["top1"])) for share, at in points.items()], max_drop)
        for name, points in curves["layers"].items()
    }


def _largest(drops: Iterable[tuple[float, float]], most: float) -> float:
    points = sorted({0.0: 0.0, **dict(drops)}.items())
    shares, losses = [share for share, _ in points], [loss for _, loss in points]
    for index in range(len(points) - 1, 0, -1):
        if losses[index] <= most:
            return shares[index]
        if losses[index - 1] <= most:  # the drop passes the limit in between
            way = (most - losses[index - 1]) / (losses[index] - losses[index - 1])
            return shares[index - 1] + way * (shares[index] - shares[index - 1])
    return 0.0
