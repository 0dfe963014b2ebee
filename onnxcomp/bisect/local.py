"""How exact each piece of a candidate is by itself, fed with the reference's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxcomp import runtime
from onnxcomp.bisect.hybrid import CANDIDATE, REFERENCE, Hybrids
from onnxcomp.parity.matching import Match

IMAGES, BATCH = 64, 16
"""Few show how exact a piece is, and every inner tensor of both networks is in memory then."""
WRONG = 3.0
"""dB: half of a channel's power; eight bits leave 20 to 40 dB, and four still 10."""


@dataclass(frozen=True)
class Suspect:
    """A tensor, and what the candidate's piece of graph that computes it does to it.

    Attributes:
        tensor: its name.
        node, op: that gives it in the candidate.
        sqnr: of the piece fed with the reference's tensors, in dB, the median over images; infinite where it
            is exact.
        channel: the least exact one (of axis 1).
        channel_sqnr: of that channel, the median over images; its own power counts, or the mean channel's
            where that is more.
    """

    tensor: str
    node: str
    op: str
    sqnr: float
    channel: int
    channel_sqnr: float


def suspects(hybrids: Hybrids, images: np.ndarray, threads: int) -> list[Suspect]:
    """Every piece of the candidate, the least exact first.

    Args:
        images: normalised, float32 [N, C, H, W]; some from all over them are used: test sets are often sorted
            by class.

    Raises:
        ModelError: ONNX Runtime cannot load the network.
    """
    names = [match.tensor for match in hybrids.shared]
    both = [f"{side}{name}" for side in (REFERENCE, CANDIDATE) for name in names]
    session = runtime.session_of_proto(hybrids.network(names, both), threads=threads, integer=False)
    powers = [_Powers() for _ in names]
    for batch in _some(images, hybrids.batch):
        outputs = session.run(None, {hybrids.image: batch})
        for power, expected, found in zip(powers, outputs[: len(names)], outputs[len(names) :], strict=True):
            power.add(expected, found)
    pieces = [power.suspect(match) for match, power in zip(hybrids.shared, powers, strict=True)]
    return sorted(pieces, key=lambda one: one.channel_sqnr)


def outliers(found: Sequence[Suspect]) -> list[Suspect]:
    """Those that rounding does not explain: half of a channel's power or more is wrong."""
    return [one for one in found if one.channel_sqnr <= WRONG]


def _some(images: np.ndarray, fixed: int | None) -> list[np.ndarray]:
    size = fixed or BATCH
    count = max(min(IMAGES, len(images)) // size, 1) * size
    chosen = images[np.linspace(0, len(images) - 1, count).round().astype(int)]
    return np.split(chosen, range(size, count, size))


class _Powers:
    """Sums of squares by image and channel (axis 1)."""

    def __init__(self) -> None:
        self._signal: list[np.ndarray] = []
        self._noise: list[np.ndarray] = []

    def add(self, expected: np.ndarray, found: np.ndarray) -> None:
        a, b = expected.astype(np.float64), found.astype(np.float64)
        shape = (len(a), a.shape[1] if a.ndim > 1 else 1, -1)
        with np.errstate(all="ignore"):  # what is not finite is worst
            self._signal.append(np.square(a).reshape(shape).sum(2))
            self._noise.append(np.square(b - a).reshape(shape).sum(2))

    def suspect(self, match: Match) -> Suspect:
        signal, noise = np.concatenate(self._signal), np.concatenate(self._noise)
        whole = _decibel(signal.sum(1), noise.sum(1))
        channels = _decibel(np.maximum(signal, signal.mean(1, keepdims=True)), noise)
        worst = int(channels.argmin())
        return Suspect(match.tensor, match.node, match.op, float(whole), worst, float(channels[worst]))


def _decibel(signal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Medians over images (axis 0); infinite without noise, and -infinite where that is not finite."""
    with np.errstate(all="ignore"):
        ratio = np.where(noise == 0, np.inf, 10 * np.log10(signal / noise))
    found: np.ndarray = np.median(np.where(np.isfinite(noise), ratio, -np.inf), axis=0)
    return np.where(np.isnan(found), -np.inf, found)
