"""Channels that nobody reads: what weights are behind them are 0, so they can go without a change."""

from __future__ import annotations

import numpy as np

from onnxcomp.model import Model
from onnxcomp.passes.channels import select
from onnxcomp.passes.channels.cut import cut
from onnxcomp.passes.channels.dependencies import Dependencies, find
from onnxcomp.passes.channels.ids import Array
from onnxcomp.passes.channels.scores import readers


def cut_dead(model: Model, alignment: int) -> int:
    """Remove, in place, the channels that only weights of 0 read, or none; masks must be multiplied in.

    Args:
        alignment: a width that changes becomes a multiple of it.

    Returns:
        How many were removed.
    """
    count = 0
    while True:  # what made a removed channel may have been all that read another
        dependencies = find(model.graph)
        gone = _gone(dependencies, dead(model, dependencies), alignment)
        if not gone.size:
            return count
        cut(model, dependencies, gone.tolist())
        count += gone.size


def dead(model: Model, dependencies: Dependencies) -> np.ndarray:
    """For each number whether it can go and all of its readers' weights are 0; bool (size,)."""
    constants = model.constants()
    free, alive = (np.zeros(dependencies.size + 1, np.bool_) for _ in range(2))
    for group in dependencies.groups:
        free[group.ids] = True
    for name, axis, numbers in readers(model.graph, dependencies):
        values = constants[name].values
        others = tuple(other for other in range(values.ndim) if other != axis)
        alive[numbers[(values != 0).any(others)]] = True
    found: np.ndarray = (free & ~alive)[:-1]
    return found


def _gone(dependencies: Dependencies, is_dead: np.ndarray, alignment: int) -> Array:
    chosen = [group for group in dependencies.groups if is_dead[group.ids].any()]
    if not chosen:
        return np.zeros(0, np.int64)
    return select.below(select.rankings(dependencies, chosen, np.where(is_dead, 0.0, 1.0), alignment), 0.0)
