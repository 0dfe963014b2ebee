"""Let the readers of removed channels make up for them: least squares on real images.

For a weight W (rows, K) and inputs with Gram matrix G, the remaining columns S that best give W's outputs are
W G[:, S] (G[S, S])^-1: the step of Luo et al. 2017 (ThiNet, arXiv 1707.06342, eq. 7), from second moments
alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.base import Grams
from onnxcomp.passes.channels.dependencies import Dependencies

Floats = npt.NDArray[np.float64]
DAMPING = 0.01
"""Added to the diagonal of G, as a share of its mean: keeps weights small where inputs say nothing."""
BUDGET = 2**28
"""Elements of all Gram matrices held at a time: 1 GiB."""
WIDEST = 8192
"""Inputs of a layer that is solved; a VGG's first Linear of 25,088 would take minutes and gigabytes."""


def reconstruct(model: Model, dependencies: Dependencies, keep: np.ndarray, grams: Grams) -> int:
    """Solve anew, in place, every weight that reads channels about to go; those become 0.

    In graph order, a batch of weights at a time, so that later ones see what earlier ones became.
    Weights behind masks or Q/DQ, of grouped or transposed convolutions, and of more than :data:`WIDEST`
    inputs stay as they are.

    Args:
        keep: for each channel number whether it stays, as :meth:`Dependencies.kept` gives.

    Returns:
        How many weights were solved.
    """
    found = list(_readers(model, dependencies, keep))
    count = len(found)
    while found:
        part = [found.pop(0)]
        room = BUDGET - _columns(part[0].uses[0]) ** 2
        while found and _columns(found[0].uses[0]) ** 2 <= room:
            room -= _columns(found[0].uses[0]) ** 2
            part.append(found.pop(0))
        matrices = grams.grams(model, [weight for reader in part for weight in reader.uses])
        for reader in part:
            weight = reader.uses[0]
            _solve(weight, reader.axis, reader.stays, matrices[weight.name][0])
    return count


@dataclass(frozen=True, eq=False)
class _Reader:
    """A weight that reads channels about to go.

    Attributes:
        uses: one for each node that shares it.
        axis: which it sums over.
        stays: which positions along that axis stay.
    """

    uses: list[graphs.Weight]
    axis: int
    stays: np.ndarray


def _readers(model: Model, dependencies: Dependencies, keep: np.ndarray) -> Iterator[_Reader]:
    uses: dict[str, list[graphs.Weight]] = {}
    for weight in graphs.weights(model.graph):
        uses.setdefault(weight.name, []).append(weight)
    for name, nodes in uses.items():
        alike = len({(weight.node.op, weight.axis) for weight in nodes}) == 1
        if not alike or not all(map(_solvable, nodes)):
            continue
        for axis, numbers in dependencies.constants.get(name, {}).items():
            if axis != nodes[0].axis and not keep[numbers].all():
                yield _Reader(nodes, axis, keep[numbers])


def _solvable(weight: graphs.Weight) -> bool:
    node = weight.node
    plain = node.inputs[weight.index] is weight.tensor
    single = node.op != "ConvTranspose" and int(node.attrs.get("group", 1)) == 1
    return plain and single and _columns(weight) <= WIDEST


def _columns(weight: graphs.Weight) -> int:
    return int(np.prod(weight.tensor.shape)) // int(weight.tensor.shape[weight.axis])


def _solve(weight: graphs.Weight, axis: int, stays: np.ndarray, gram: npt.NDArray[np.float32]) -> None:
    values = weight.tensor.values
    table = values if axis == 1 else values.T
    rows = table.reshape(len(table), -1)
    columns = np.repeat(stays, rows.shape[1] // len(stays))
    solved = np.zeros_like(rows)
    solved[:, columns] = least_squares(rows.astype(np.float64), gram, columns)
    shaped = solved.reshape(table.shape)
    weight.tensor.values = np.ascontiguousarray(shaped if axis == 1 else shaped.T)


def least_squares(rows: Floats, gram: np.ndarray, columns: np.ndarray) -> Floats:
    """The weights of ``columns`` whose outputs are nearest to those of all.

    Args:
        rows: float64 (outputs, K).
        gram: float32 or float64 (K, K), sums of products of inputs; of a large layer it is never held
            whole in float64.
        columns: which of K remain, bool (K,), at least one.

    Returns:
        float64 (outputs, remaining).
    """
    damping = DAMPING * float(np.mean(np.diag(gram), dtype=np.float64))
    if damping == 0:  # no input was ever different from 0
        return rows[:, columns]
    wanted = rows @ gram[:, columns] + damping * rows[:, columns]
    within = gram[np.ix_(columns, columns)].astype(np.float64)
    within.flat[:: len(within) + 1] += damping
    solved: Floats = np.linalg.solve(within, wanted.T).T
    return solved
