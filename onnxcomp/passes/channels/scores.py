"""How much each channel matters: a small function from the weights that make and read it to a score."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.passes.channels.dependencies import Dependencies
from onnxcomp.passes.channels.ids import Array

Scores = npt.NDArray[np.float64]
Readers = list[tuple[str, int, Array]]
Values = Mapping[str, npt.NDArray[np.float32]]


def magnitude(graph: gs.Graph, dependencies: Dependencies, current: Values | None = None) -> Scores:
    """The energy (sum of squares) of all slices of a channel, each as a share of its weight's.

    Args:
        current: values of some weights by name, instead of those in ``graph``.
    """
    scores = np.zeros(dependencies.size + 1)
    for weight in _weights(graph):
        values = (current or {}).get(weight.name, weight.tensor.values)
        energy = float(np.vdot(values, values))
        for axis, numbers in dependencies.constants.get(weight.name, {}).items():
            if energy > 0:
                np.add.at(scores, numbers, along(values, values, axis) / energy)
    return scores[:-1]


def random(dependencies: Dependencies, seed: int) -> Scores:
    """Numbers that depend on the seed alone."""
    return np.random.default_rng(seed).random(dependencies.size)


def gates(weights: Values, gradients: Values, readers: Readers, size: int) -> Scores:
    """Derivative of the loss by a factor on each channel, which all its readers see: sum of w dL/dw.

    Args:
        weights, gradients: by name; those of the readers are used.
        size: of the result.
    """
    found = np.zeros(size + 1)
    for name, axis, numbers in readers:
        np.add.at(found, numbers, along(weights[name], gradients[name], axis))
    return found[:-1]


def taylor(gate: Scores) -> Scores:
    """``|dL/dgate|``, of which the mean over batches is taken: the change of the loss to first order
    (Molchanov et al. 2017, arXiv 1611.06440, eq. 8)."""
    return np.abs(gate)


def obd(gate: Scores) -> Scores:
    """``(dL/dgate)^2 / 2``, of which the mean over batches is taken: Optimal Brain Damage (LeCun et al.
    1989, eq. 5) on the gates, with the empirical Fisher information for the Hessian."""
    return np.square(gate) / 2


STATISTICS: Mapping[str, Callable[[Scores], Scores]] = {"taylor": taylor, "obd": obd}
"""What a criterion wants the mean of; criteria that ask for no gradients are not here."""


def mean(criterion: str, gates: Iterable[Scores]) -> Scores:
    """The mean of the criterion's statistic over the gates of each batch."""
    found = [STATISTICS[criterion](gate) for gate in gates]
    return np.asarray(np.mean(found, axis=0), np.float64)


def readers(graph: gs.Graph, dependencies: Dependencies) -> Readers:
    """(weight name, axis summed over, the channel of each position) of every weight that reads channels."""
    return [
        (weight.name, axis, numbers)
        for weight in _weights(graph)
        for axis, numbers in dependencies.constants.get(weight.name, {}).items()
        if axis != weight.axis
    ]


def _weights(graph: gs.Graph) -> Iterator[graphs.Weight]:
    """Each weight once, also where several nodes share it."""
    seen: set[str] = set()
    for weight in graphs.weights(graph):
        if weight.name not in seen:
            seen.add(weight.name)
            yield weight


def along(left: np.ndarray, right: np.ndarray, axis: int) -> Scores:
    """Sum of the products of all elements with the same place along ``axis``; float64."""
    letters = "abcdefgh"[: left.ndim]
    sums: Scores = np.einsum(f"{letters},{letters}->{letters[axis]}", left, right).astype(np.float64)
    return sums
