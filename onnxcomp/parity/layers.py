"""Inner tensors of two networks on the same images, and where they part."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from onnxcomp import runtime
from onnxcomp.model import Model
from onnxcomp.parity.compare import check_interfaces, with_names_of
from onnxcomp.parity.matching import Match, matches
from onnxcomp.providers import Provider
from onnxcomp.student import student

EXACT = 40.0
"""SQNR in dB that 8 bits give at best, nearly: where falls are told, what is above is as good as equal."""
PAIR = ("QuantizeLinear", "DequantizeLinear")
BATCH = 8  # images at once: every inner tensor of both networks is in memory


@dataclass(frozen=True)
class LayerError:
    """How a tensor of the candidate differs from the reference's of the same name.

    Attributes:
        tensor: its name.
        node, op: that gives it in the candidate.
        sqnr: power of the reference over power of the difference, in dB; infinite where they are equal.
        cosine: of the angle between all values of both.
        max_absolute: largest absolute difference.
        largest: largest absolute value of the reference.
        fall: dB by which the SQNR is lower than that of the worst of the matching tensors that it is computed
            from; above 40 dB counts as 40.
    """

    tensor: str
    node: str
    op: str
    sqnr: float
    cosine: float
    max_absolute: float
    largest: float
    fall: float


@dataclass(frozen=True)
class LayerErrors:
    """All matching tensors.

    Attributes:
        errors: in the candidate's order.
        images: number of images.
        unmatched: operators of the candidate whose output has no namesake, without Q/DQ.
    """

    errors: tuple[LayerError, ...]
    images: int
    unmatched: int

    @property
    def steepest(self) -> LayerError:
        """Where the SQNR falls most; the first of equal ones."""
        return max(self.errors, key=lambda error: error.fall)

    def below(self, limits: Mapping[str, float]) -> list[tuple[LayerError, float]]:
        """Those whose SQNR is below their limit, with it, in order.

        Args:
            limits: dB by pattern of the names of tensors or nodes; the last one that fits counts.
        """
        found = []
        for error in self.errors:
            fitting = [
                limit
                for pattern, limit in limits.items()
                if any(fnmatch.fnmatchcase(name, pattern) for name in (error.tensor, error.node))
            ]
            if fitting and not error.sqnr >= fitting[-1]:
                found.append((error, fitting[-1]))
        return found


def compare_layers(
    reference: Model,
    candidate: Model,
    images: Sequence[np.ndarray],
    *,
    threads: int,
    provider: Provider = "cpu",
    progress: Callable[[int], None] = lambda count: None,
) -> LayerErrors:
    """Run both networks on ``images``, float32 [B, C, H, W] normalised batches, and compare what they share.

    Q/DQ pairs round in float32 here: integer kernels would hide the tensors inside them.

    Args:
        progress: called with a number of images.

    Raises:
        ModelError: the networks cannot be fed the same images.
    """
    check_interfaces(reference, candidate)
    first, second = student(reference), with_names_of(candidate, reference)
    shared = matches(first, second)
    names = [match.tensor for match in shared]
    sessions = [
        runtime.session(model, outputs=names, threads=threads, integer=False, provider=provider)
        for model in (first, second)
    ]
    sums = [Sums() for _ in names]
    fixed = reference.batch or candidate.batch
    for batch in images:
        for start in range(0, len(batch), fixed or BATCH):
            feed = {first.image.name: batch[start : start + (fixed or BATCH)]}
            outputs = [session.run(None, feed) for session in sessions]
            for total, expected, found in zip(sums, *outputs, strict=True):
                total.add(expected, found)
            progress(len(feed[first.image.name]))
    known = set(names)
    unmatched = sum(
        node.op not in PAIR and node.outputs[0].name not in known
        for node in second.graph.nodes
        if node.outputs
    )
    return LayerErrors(_errors(shared, sums), sum(len(batch) for batch in images), unmatched)


class Sums:
    """Sums over batches of what one tensor's figures need, in float64."""

    def __init__(self) -> None:
        self.signal = self.noise = self.product = self.own = 0.0
        self.worst = self.largest = 0.0

    def add(self, expected: np.ndarray, found: np.ndarray) -> None:
        a, b = expected.astype(np.float64).ravel(), found.astype(np.float64).ravel()
        with np.errstate(all="ignore"):  # NaN and infinity spread to the figures
            difference = b - a
            # No BLAS: its threads are not ours to count.
            self.signal += float(np.square(a).sum())
            self.own += float(np.square(b).sum())
            self.product += float((a * b).sum())
            self.noise += float(np.square(difference).sum())
            self.worst = _largest(self.worst, difference)
            self.largest = _largest(self.largest, a)

    @property
    def sqnr(self) -> float:
        if self.noise == 0:
            return math.inf
        if not math.isfinite(self.noise) or not math.isfinite(self.signal):
            return math.nan
        return 10 * math.log10(self.signal / self.noise) if self.signal else -math.inf

    @property
    def cosine(self) -> float:
        norms = math.sqrt(self.signal) * math.sqrt(self.own)
        if norms == 0:
            return 1.0 if self.signal == self.own else 0.0
        return self.product / norms


def _largest(before: float, values: np.ndarray) -> float:
    found = float(np.abs(values).max()) if values.size else 0.0
    return math.nan if math.isnan(found) or math.isnan(before) else max(before, found)


def _errors(shared: Sequence[Match], sums: Sequence[Sums]) -> tuple[LayerError, ...]:
    level = {match.tensor: _level(total.sqnr) for match, total in zip(shared, sums, strict=True)}
    return tuple(
        LayerError(
            match.tensor,
            match.node,
            match.op,
            total.sqnr,
            total.cosine,
            total.worst,
            total.largest,
            min((level[name] for name in match.after), default=EXACT) - level[match.tensor],
        )
        for match, total in zip(shared, sums, strict=True)
    )


def _level(sqnr: float) -> float:
    return -EXACT if math.isnan(sqnr) else max(min(sqnr, EXACT), -EXACT)
