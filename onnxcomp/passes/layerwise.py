"""Solving one layer after another on Gram matrices: rows, stages that fit in memory, damping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from onnxcomp import graphs

Array = npt.NDArray[np.float32]
Layers = Mapping[str, Sequence[graphs.Weight]]
"""The nodes that use each weight, by its name, in graph order."""

DAMPING = 0.01
"""Added to the diagonal of the Hessian, as a share of its mean (Frantar & Alistarh 2023, section 3.3)."""


def matrix(layer: graphs.Weight, values: Array) -> Array:
    """A weight's values as (groups, outputs, K), K in the order of its Gram matrix."""
    if layer.node.op == "Conv":
        groups = int(layer.node.attrs.get("group", 1))
        return values.reshape(groups, len(values) // groups, -1)
    return (values.T if layer.axis else values)[None]


def tensor(layer: graphs.Weight, rows: Array) -> Array:
    """The inverse of :func:`matrix`."""
    if layer.node.op == "Conv":
        return rows.reshape(layer.tensor.shape)
    return np.ascontiguousarray(rows[0].T if layer.axis else rows[0])


def stages(layers: Layers, budget: int) -> Iterator[list[str]]:
    """The weights' names in order, as many at a time as have Gram matrices of ``budget`` elements.

    At least one: a wider layer makes a stage of its own.
    """
    stage: list[str] = []
    elements = 0
    for name, (layer, *_) in layers.items():
        groups, _, columns = matrix(layer, layer.tensor.values).shape
        size = groups * columns**2
        if stage and elements + size > budget:
            yield stage
            stage, elements = [], 0
        stage.append(name)
        elements += size
    if stage:
        yield stage


def damped(gram: Array, damping: float = DAMPING) -> Array:
    """``gram`` with a larger diagonal; the identity where no input was ever different from 0.

    Args:
        gram: float32 (groups, K, K).
        damping: share of the mean diagonal that is added to the diagonal.
    """
    mean = float(np.mean(np.diagonal(gram, axis1=1, axis2=2), dtype=np.float64))
    hessian = gram.copy()
    places = np.arange(gram.shape[1])
    hessian[:, places, places] += np.float32(damping * mean or 1)
    return hessian
