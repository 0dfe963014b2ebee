"""Runs of networks between a reference and a candidate, each scored against the reference."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from onnxcomp import runtime
from onnxcomp.bisect.hybrid import Hybrids
from onnxcomp.parity.accuracy import label_ranks, percent

By = Literal["logits", "top-1"]
Batches = Sequence[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Score:
    """How good a network's answers are.

    Attributes:
        top1: in percent.
        noise: power of the difference of the logits from the reference's, over the power of these.
    """

    top1: float
    noise: float


class Trials:
    """Scores of networks, each run at most once.

    Args:
        batches: normalised images float32 [B, C, H, W] and their labels int64 [B].

    Attributes:
        names: the shared tensors in order.
        count: networks that were run.
    """

    def __init__(self, hybrids: Hybrids, batches: Batches, threads: int) -> None:
        self._hybrids, self._batches, self._threads = hybrids, batches, threads
        self._labels = np.concatenate([labels for _, labels in batches])
        self._scores: dict[frozenset[str], Score] = {}
        self.names = [match.tensor for match in hybrids.shared]
        self.count = 0
        self._expected = self._logits(self.names)
        self._scores[frozenset(self.names)] = self._scored(self._expected)

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self._labels)

    def score(self, of_reference: Collection[str]) -> Score:
        """The score of the network whose pieces for these tensors are the reference's.

        Raises:
            ModelError: ONNX Runtime cannot load it.
        """
        key = frozenset(of_reference)
        if key not in self._scores:
            self._scores[key] = self._scored(self._logits(key))
        return self._scores[key]

    def _scored(self, logits: np.ndarray) -> Score:
        with np.errstate(all="ignore"):  # what is not finite is worst, see below
            noise = float(np.square(logits - self._expected).sum() / np.square(self._expected).sum())
        return Score(percent(label_ranks(logits, self._labels) < 1), noise if np.isfinite(noise) else np.inf)

    def _logits(self, of_reference: Collection[str]) -> np.ndarray:
        """float64 [N, classes]."""
        self.count += 1
        data = self._hybrids.network(of_reference)
        session = runtime.session_of_proto(data, threads=self._threads, integer=False)
        found = [session.run(None, {self._hybrids.image: images})[0] for images, _ in self._batches]
        return np.concatenate(found).astype(np.float64)
