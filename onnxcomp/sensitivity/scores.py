"""What a network's logits are worth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxcomp.parity.accuracy import label_ranks, percent
from onnxcomp.passes.qat import sqnr

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Point:
    """The network on the images.

    Attributes:
        top1: share of the images, in percent, whose label has the highest logit.
        loss: mean cross-entropy, in nats.
    """

    top1: float
    loss: float


@dataclass(frozen=True)
class Compared(Point):
    """The same, beside another network.

    Attributes:
        sqnr: ``10 log10(sum r^2 / sum (r - x)^2)``, in dB, over the logits of all images: ``r`` of the other
            network, ``x`` of this one; None where they are equal.
    """

    sqnr: float | None

    @property
    def decibels(self) -> float:
        """``sqnr``, infinite where the logits are equal."""
        return math.inf if self.sqnr is None else self.sqnr


def point(logits: Array, labels: NDArray[np.int64]) -> Point:
    """Accuracy and loss of logits, float32 (N, classes), that are finite; labels int64 (N,)."""
    losses = cross_entropies(logits, labels)
    return Point(percent(label_ranks(logits, labels) < 1), float(losses.mean()))


def compared(logits: Array, reference: Array, labels: NDArray[np.int64]) -> Compared:
    """:func:`point`, and how far the logits are from others, float32 (N, classes)."""
    found, decibels = point(logits, labels), sqnr.sqnr([reference], [logits])
    return Compared(found.top1, found.loss, decibels if math.isfinite(decibels) else None)


def cross_entropies(logits: Array, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each image, in nats.

    Args:
        logits: float32 (N, classes).
        labels: int64 (N,).
    """
    values = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinite logits give NaN
        values -= values.max(axis=1, keepdims=True)
    own = np.take_along_axis(values, labels[:, None], axis=1)[:, 0]
    found: NDArray[np.float64] = np.log(np.exp(values).sum(axis=1)) - own
    return found
