"""Test accuracy during training, each rank on its share of the images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from onnxcomp.data import DataSet
from onnxcomp.model import Model
from onnxcomp.training.ranks import Ranks

Evaluate = Callable[[Model], float]
"""Test accuracy of a network, in percent."""


def on_test_images(data: DataSet, threads: int, ranks: Ranks) -> Evaluate:
    """Top-1 accuracy on the test images of ``data``; every rank has to call it and is given the same."""
    from onnxcomp.parity.accuracy import accuracy
    from onnxcomp.parity.sample import every_nth

    share = data.test if ranks.size == 1 else every_nth(data.test, ranks.size, ranks.rank)

    def evaluate(model: Model) -> float:
        right = np.array(accuracy(model, share, threads=threads) * len(share) if len(share) else 0.0)
        ranks.average([right])
        return float(right) * ranks.size / len(data.test)

    return evaluate if ranks.size > 1 else lambda model: accuracy(model, share, threads=threads)
