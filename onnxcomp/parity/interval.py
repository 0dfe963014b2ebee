"""How sure a drop of accuracy is: an interval for the difference of two shares of the same images.

Both networks classify the same images, so only those that exactly one of them gets right tell them apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from onnxcomp.errors import OnnxcompError


@dataclass(frozen=True)
class Drop:
    """Top-1 accuracy that a candidate loses.

    Attributes:
        points: reference less candidate, in percentage points; negative where the candidate is better.
        low, high: ends of the interval.
        confidence: in percent, of the interval (both sides together).
        lost: images that only the reference gets right.
        won: images that only the candidate gets right.
        count: number of images.
    """

    points: float
    low: float
    high: float
    confidence: float
    lost: int
    won: int
    count: int

    def text(self) -> str:
        """``1.20 points (0.95 to 1.45 with 95 %)``."""
        return f"{self.points:.2f} points ({self.low:.2f} to {self.high:.2f} with {self.confidence:g} %)"


def paired_drop(reference: np.ndarray, candidate: np.ndarray, confidence: float = 95) -> Drop:
    """The drop with its interval: Newcombe, Statistics in Medicine 17:2635 (1998), method 10.

    It joins the Wilson score intervals of both shares by their correlation, and holds where few images or
    none tell the networks apart.

    Args:
        reference, candidate: bool [N], the images that each gets right, N > 0.
        confidence: in percent, above 0 and below 100.

    Raises:
        OnnxcompError: the confidence is out of range.
    """
    if not 0 < confidence < 100:
        raise OnnxcompError(f"{confidence:g} % is no confidence", fix="give one above 0 and below 100")
    count = len(reference)
    both, lost, won, none = (
        int(np.count_nonzero(chosen))
        for chosen in (
            reference & candidate,
            reference & ~candidate,
            ~reference & candidate,
            ~reference & ~candidate,
        )
    )
    quantile = NormalDist().inv_cdf(0.5 + confidence / 200)
    first, second = (both + lost) / count, (both + won) / count
    first_low, first_high = _wilson(both + lost, count, quantile)
    second_low, second_high = _wilson(both + won, count, quantile)
    phi = _correlation(both, lost, won, none)
    below = _distance(first - first_low, second_high - second, phi)
    above = _distance(first_high - first, second - second_low, phi)
    drop = (lost - won) / count
    return Drop(100 * drop, 100 * (drop - below), 100 * (drop + above), confidence, lost, won, count)


def _wilson(hits: int, count: int, quantile: float) -> tuple[float, float]:
    """Wilson's score interval of a share, without continuity correction."""
    square = quantile**2
    middle = 2 * hits + square
    spread = quantile * math.sqrt(square + 4 * hits * (1 - hits / count))
    whole = 2 * (count + square)
    return (middle - spread) / whole, (middle + spread) / whole


def _correlation(both: int, lost: int, won: int, none: int) -> float:
    """Phi of the fourfold table, its product corrected for continuity towards 0."""
    margins = (both + lost) * (won + none) * (both + won) * (lost + none)
    if margins == 0:
        return 0.0
    product: float = both * none - lost * won
    if product > 0:
        product = max(product - (both + lost + won + none) / 2, 0.0)
    return product / math.sqrt(margins)


def _distance(first: float, second: float, phi: float) -> float:
    return math.sqrt(max(first**2 - 2 * phi * first * second + second**2, 0.0))
