"""The gradients of one global step: the mean over its micro-batches and over all ranks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxcomp.data.dataset import UNLABELLED
from onnxcomp.training.blocks import Array
from onnxcomp.training.engine import Engine, Hidden, StepResult
from onnxcomp.training.ranks import Ranks

Batch = tuple[NDArray[np.float32], NDArray[np.int64]] | tuple[NDArray[np.float32], NDArray[np.int64], Hidden]
"""Images, labels and, where it is known, what is read of a teacher."""


@dataclass(frozen=True)
class Outcome:
    """What a global step measured, on all of its images.

    Attributes:
        losses: means by output name, ``loss`` first.
        right: images whose label has the highest logit.
        images: in the step.
        labelled: those of them that have a label.
        gradient_norm: Euclidean, of all gradients together, before clipping.
    """

    losses: dict[str, float]
    right: int
    images: int
    labelled: int
    gradient_norm: float = 0.0


class GlobalStep:
    """Runs the micro-batches of this rank and averages.

    The running statistics of BatchNormalization follow the micro-batches one after the other, as
    PyTorch's do, and are averaged over the ranks.

    Args:
        accumulate: micro-batches of a rank in a step.
        statistics: the engine's live arrays of running statistics.

    Attributes:
        gradients: live arrays by name; written over by the next step.
        averages_statistics: whether a step moves the running statistics.
    """

    def __init__(self, engine: Engine, ranks: Ranks, accumulate: int, statistics: Iterable[Array]) -> None:
        self._engine = engine
        self._ranks = ranks
        self._accumulate = accumulate
        self._statistics = list(statistics)
        self.averages_statistics = True
        self.gradients: Mapping[str, Array] = engine.gradients
        if accumulate > 1:
            self.gradients = {name: np.zeros_like(array) for name, array in engine.gradients.items()}

    def __call__(self, batches: Iterable[Batch]) -> Outcome:
        """Compute :attr:`gradients`; ``batches`` are this rank's micro-batches.

        Raises:
            TrainingError: as the engine's step.
        """
        sums, names, images = np.zeros(0), ["loss"], 0
        for index, batch in enumerate(batches):
            labels = batch[1]
            result = self._engine.step(*batch)
            measured = _measured(result, labels)
            sums = measured if index == 0 else sums + measured
            names = [*result.losses]
            images += len(labels)
            self._add(index)
        self._finish(sums)
        means = (sums[:-2] / self._accumulate).tolist()
        right, labelled = (round(value * self._ranks.size) for value in sums[-2:])
        return Outcome(dict(zip(names, means, strict=True)), right, images * self._ranks.size, labelled)

    def _add(self, index: int) -> None:
        if self._accumulate == 1:
            return
        for name, gradient in self._engine.gradients.items():
            if index == 0:
                self.gradients[name][...] = gradient
            else:
                np.add(self.gradients[name], gradient, out=self.gradients[name])

    def _finish(self, sums: Array) -> None:
        if self._accumulate > 1:
            for gradient in self.gradients.values():
                np.divide(gradient, self._accumulate, out=gradient)
        statistics = self._statistics if self.averages_statistics else []
        self._ranks.average([sums, *self.gradients.values(), *statistics])


def _measured(result: StepResult, labels: NDArray[np.int64]) -> Array:
    """Losses, right answers and labels; float64, so that sums are those of Python's floats."""
    right = np.count_nonzero(np.argmax(result.logits, axis=1) == labels)
    labelled = np.count_nonzero(labels != UNLABELLED)
    return np.array([*result.losses.values(), right, labelled], np.float64)
