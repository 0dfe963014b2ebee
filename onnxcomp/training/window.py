"""Averages over the steps since the last line of metrics."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from onnxcomp.training.optim import Array


class Window:
    """Means of the losses, the training accuracy and the speed. Starts its clock when made."""

    def __init__(self) -> None:
        self._losses: dict[str, float] = {}
        self._steps = 0
        self._images = 0
        self._right = 0
        self._seconds = 0.0
        self.restart_clock()

    def restart_clock(self) -> None:
        """What happened since the last step (an evaluation, a checkpoint) is not training time."""
        self._clock = time.perf_counter()

    def add(self, losses: Mapping[str, float], logits: Array, labels: Array) -> None:
        """Count one step: its loss terms, logits (N, classes) and labels (N,)."""
        for name, value in losses.items():
            self._losses[name] = self._losses.get(name, 0.0) + value
        self._steps += 1
        self._images += len(labels)
        self._right += int((np.argmax(logits, axis=1) == labels).sum())
        self._seconds += time.perf_counter() - self._clock
        self.restart_clock()

    def means(self) -> dict[str, float]:
        """Each loss term, ``accuracy`` (percent) and ``images_per_second``; at least one step was added."""
        losses = {name: value / self._steps for name, value in self._losses.items()}
        return {
            **losses,
            "accuracy": 100 * self._right / self._images,
            "images_per_second": self._images / max(self._seconds, 1e-9),
        }
