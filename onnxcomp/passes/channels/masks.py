"""Channels that training closes: masks on every weight that makes or reads one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.base import Pass
from onnxcomp.passes.channels.dependencies import Dependencies
from onnxcomp.passes.channels.ids import Array
from onnxcomp.passes.channels.selection import Selection
from onnxcomp.passes.masking import insert_mask
from onnxcomp.passes.prune import Prune

Masks = Mapping[str, npt.NDArray[np.float32]]
"""Of ones and zeros, by the name of the weight."""


def insert(model: Model, selection: Selection) -> list[str]:
    """Mask with ones each weight that has one of the channels; their names, in graph order."""
    numbers = np.concatenate([group.ids for group in selection.chosen])
    names: dict[str, graphs.Weight] = {}
    for weight in graphs.weights(model.graph):
        axes = selection.dependencies.constants.get(weight.name, {})
        if any(np.isin(channels, numbers).any() for channels in axes.values()):
            names[weight.name] = weight
    for weight in names.values():
        insert_mask(model, weight.tensor)
    model.graph.toposort()
    return list(names)


def close(dependencies: Dependencies, masks: Masks, gone: Array) -> None:
    """Write 0 into the masks, in place, wherever a weight makes or reads one of ``gone``."""
    keep = dependencies.kept(gone.tolist())
    for name, mask in masks.items():
        for axis, numbers in dependencies.constants.get(name, {}).items():
            np.moveaxis(mask, axis, 0)[~keep[numbers]] = 0


def closed(dependencies: Dependencies, masks: Masks) -> Array:
    """The numbers of which every position in every mask is 0."""
    alive = np.zeros(dependencies.size + 1, np.bool_)
    seen = np.zeros(dependencies.size + 1, np.bool_)
    for name, mask in masks.items():
        for axis, numbers in dependencies.constants.get(name, {}).items():
            others = tuple(other for other in range(mask.ndim) if other != axis)
            seen[numbers] = True
            alive[numbers[mask.any(others)]] = True
    return np.flatnonzero((seen & ~alive)[:-1])


def mask_pattern(passes: Iterable[Pass]) -> str:
    """The pattern over neighbouring channels that masks have after ``passes``, or ``""``.

    Removing a channel would move its neighbours into other groups.
    """
    patterns = [one.pattern for one in passes if isinstance(one, Prune)]
    return next((pattern for pattern in patterns if pattern != "unstructured"), "")
