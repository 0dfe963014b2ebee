"""What the options of the pass ask for, as a choice of channels: once, or more and more in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.passes.channels import select
from onnxcomp.passes.channels.dependencies import Dependencies, Group
from onnxcomp.passes.channels.ids import Array
from onnxcomp.passes.channels.work import Work


@dataclass(frozen=True)
class Wanted:
    """How much shall go.

    Attributes:
        macs: share of the multiply-accumulates that is left, or None for ``sparsity``.
        sparsity: share of the channels that goes.
        allocation: ``global`` or ``uniform``.
        relative: scores are compared among groups as multiples of each group's mean.
        alignment: widths are multiples of it, or what they were.
    """

    macs: float | None
    sparsity: float
    allocation: Literal["global", "uniform"]
    relative: bool
    alignment: int


class Selection:
    """Chooses channels of a graph.

    Args:
        chosen: the groups of which channels may go.

    Raises:
        ValueError: the work of a layer is not known.
    """

    def __init__(
        self, graph: gs.Graph, dependencies: Dependencies, chosen: list[Group], wanted: Wanted
    ) -> None:
        self.dependencies, self.chosen, self._wanted = dependencies, chosen, wanted
        self.work = Work(graph, dependencies)
        self.total = self.work.left(dependencies.kept(()))

    def choose(self, values: np.ndarray, progress: float = 1.0, gone: Array | None = None) -> Array | None:
        """The numbers that go, those of the lowest ``values`` first.

        Args:
            values: a score for each number; float64 (size,).
            progress: share of what is wanted in the end, 0 to 1.
            gone: what an earlier choice removed already, which this one includes.

        Returns:
            None where widths do not allow as much.
        """
        ranked = self._ranked(values, gone)
        every = sum(len(ranking.ids) for ranking in ranked)
        wanted = self._wanted

        def enough(found: Array) -> bool:
            if wanted.macs is None:
                return len(found) >= progress * wanted.sparsity * every
            left = self.work.left(self.dependencies.kept(found.tolist()))
            return left <= (1 - progress * (1 - wanted.macs)) * self.total

        return select.smallest(ranked, enough)

    def all_that_can(self, values: np.ndarray, gone: Array | None = None) -> Array:
        """The longest choice that widths allow; arguments as for :meth:`choose`."""
        return select.below(self._ranked(values, gone), np.inf)

    def _ranked(self, values: np.ndarray, gone: Array | None) -> list[select.Ranking]:
        wanted = self._wanted
        if gone is not None:
            values = values.copy()
            values[gone] = -np.inf
        ranked = select.rankings(self.dependencies, self.chosen, values, wanted.alignment)
        if wanted.allocation == "uniform":
            ranked = select.positions(ranked)
        elif wanted.relative:
            ranked = select.relative(ranked)
        return ranked
