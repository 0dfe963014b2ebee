"""Test accuracy during training, each rank on its share of the images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxcomp.data import DataSet
from onnxcomp.model import Model
from onnxcomp.training.progress import Progress, Silent
from onnxcomp.training.ranks import Ranks

Evaluate = Callable[[Model], float]
"""Test accuracy of a network, in percent."""


def on_test_images(data: DataSet, threads: int, ranks: Ranks, progress: Progress | None = None) -> Evaluate:
    """Top-1 accuracy on the test images of ``data``; every rank has to call it and is given the same."""
    from onnxcomp.parity.accuracy import evaluate_accuracy
    from onnxcomp.parity.sample import every_nth

    share = data.test if ranks.size == 1 else every_nth(data.test, ranks.size, ranks.rank)

    def measured(model: Model) -> float:
        with (progress or Silent()).counting("test images", len(share)) as advance:
            return evaluate_accuracy(model, share, threads=threads, progress=advance).top1

    def evaluate(model: Model) -> float:
        right = np.array(measured(model) * len(share) if len(share) else 0.0)
        ranks.average([right])
        return float(right) * ranks.size / len(data.test)

    return evaluate if ranks.size > 1 else measured
