"""Averages over the steps since the last line of metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping

from onnxcomp.training.global_step import Outcome


class Window:
    """Means of the losses, the training accuracy and the speed. Starts its clock when made.

    Args:
        sums: what :attr:`sums` of another one were, to continue it; the speed is not continued.
    """

    def __init__(self, sums: Mapping[str, float] | None = None) -> None:
        self.sums: dict[str, float] = dict(sums or {})
        self._timed = 0
        self._seconds = 0.0
        self.restart_clock()

    def restart_clock(self) -> None:
        """What happened since the last step (an evaluation, a checkpoint) is not training time."""
        self._clock = time.perf_counter()

    def add(self, outcome: Outcome) -> None:
        """Count one step."""
        found = {**outcome.losses, "gradient_norm": outcome.gradient_norm}
        found.update(
            {"right": outcome.right, "labelled": outcome.labelled, "images": outcome.images, "steps": 1}
        )
        for name, value in found.items():
            self.sums[name] = self.sums.get(name, 0) + value
        self._timed += outcome.images
        self._seconds += time.perf_counter() - self._clock
        self.restart_clock()

    def means(self) -> dict[str, float]:
        """Each loss term, ``gradient_norm``, ``accuracy`` (percent) and ``images_per_second``.

        At least one step was added. Images without labels have no accuracy.
        """
        counts = {name: self.sums[name] for name in ("right", "labelled", "images", "steps")}
        accuracy = {"accuracy": 100 * counts["right"] / counts["labelled"]} if counts["labelled"] else {}
        return {
            **{name: value / counts["steps"] for name, value in self.sums.items() if name not in counts},
            **accuracy,
            "images_per_second": self._timed / max(self._seconds, 1e-9),
        }
