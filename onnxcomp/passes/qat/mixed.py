"""Mixed precision: the fewest layers float with which the network answers as well as it has to.

Partial quantisation (Wu et al. 2020, arXiv 2004.09602, section 5.1): layers in the order of their sensitivity
are left float until the accuracy is reached. How many it takes is found by bisection, and then each of them
that is not needed after all is quantised again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from onnxcomp.errors import PassError
from onnxcomp.model import Model
from onnxcomp.passes.base import Array, Calibration
from onnxcomp.passes.qat import partial
from onnxcomp.passes.qat.local_error import local_errors
from onnxcomp.passes.qat.sqnr import logits, sqnr

CANDIDATES = 24
"""Layers whose effect on the logits is measured one by one: those with the largest errors of their own."""
BATCHES = 4
"""Batches on which that is done."""
TRIES = 32
"""How often layers are tried to be quantised again, at most."""
LISTED = 10


@dataclass(frozen=True)
class Choice:
    """What is left float.

    Attributes:
        layers: names of the weights, the most sensitive first.
        notes: how it was found, a line each.
    """

    layers: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A network beside the reference.

    Attributes:
        drop: points of top-1 accuracy lost; below 0 where it gains.
        sqnr: of the logits, in dB.
    """

    drop: float
    sqnr: float

    def __str__(self) -> str:
        return f"top-1 loses {self.drop:.2f} points, SQNR {self.sqnr:.1f} dB"


class Judge:
    """Compares networks with a float one on the images of calibration.

    Args:
        reference: the float network.
        calibration: where its labels are not known, the classes that the float network gives count.
    """

    def __init__(self, reference: Model, calibration: Calibration) -> None:
        self.reference, self.calibration = reference, calibration
        self._logits = logits(reference, calibration)
        answers = _classes(self._logits)
        self._labels = calibration.labels if len(calibration.labels) else answers
        self._hits = int(np.count_nonzero(answers == self._labels))

    def judge(self, model: Model, keep: Collection[str]) -> Found:
        """Top-1 and SQNR on all images, of a network with only the layers ``keep`` in INT8."""
        found = logits(self._only(model, keep), self.calibration)
        lost = self._hits - int(np.count_nonzero(_classes(found) == self._labels))
        return Found(100 * lost / len(self._labels), sqnr(self._logits, found))

    def sqnr(self, model: Model, layer: str, batches: int) -> float:
        """On the first batches, with one layer in INT8."""
        return sqnr(self._logits[:batches], logits(self._only(model, [layer]), self.calibration, batches))

    def _only(self, model: Model, keep: Collection[str]) -> Model:
        copy = partial.only(model, keep)
        partial.restore(copy, self.reference)
        return copy


def _classes(batches: Sequence[Array]) -> npt.NDArray[np.int64]:
    return np.concatenate([batch.argmax(axis=1) for batch in batches])


def leave_float(model: Model, reference: Model, calibration: Calibration, max_drop: float) -> tuple[str, ...]:
    """:func:`choose`, and let what is chosen be float in ``model``, in place, with the reference's weights.

    Returns:
        Notes for the report.
    """
    choice = choose(model, reference, calibration, max_drop)
    partial.restrict(model, [name for name in partial.layers(model) if name not in choice.layers])
    partial.restore(model, reference)
    return choice.notes


def choose(model: Model, reference: Model, calibration: Calibration, max_drop: float) -> Choice:
    """The fewest layers float so that top-1 on the images of calibration drops by at most ``max_drop``.

    On some hundred images one image is a sizeable part of a point, so layers are ranked by the SQNR of the
    logits, which tells them apart where top-1 does not. What it takes on DenseNet201's 201 layers is about
    one run of the network for each of :data:`CANDIDATES` on a few batches, and 10 to 40 on all images.

    Args:
        model: a compression form with Q/DQ; it stays as it is.
        reference: the float network; its weights have the same names.
        max_drop: points of top-1 accuracy, at least 0.

    Raises:
        PassError: ``max_drop`` is below 0 or no number, or no layer is quantised.
    """
    check_max_drop(max_drop)
    names = partial.layers(model)
    if not names:
        raise PassError("no layer is quantised", where="qat", fix="apply qat first")
    judge = Judge(reference, calibration)
    full = judge.judge(model, names)
    if full.drop <= max_drop:
        return Choice((), (f"float_layers=auto: none; all {len(names)} layers in INT8: {full}",))
    search = _Search(model, judge, rank(model, judge), max_drop)
    search.grow()
    search.shrink()
    return Choice(tuple(search.left), (f"all {len(names)} layers in INT8: {full}", *search.notes()))


def check_max_drop(max_drop: float) -> None:
    """Refuse a drop that no network meets.

    Raises:
        PassError: it is below 0 or no number.
    """
    if not max_drop >= 0:
        raise PassError(f"max_drop is {max_drop:g}", where="qat", fix="give points of top-1, at least 0")


def rank(model: Model, judge: Judge) -> dict[str, float]:
    """All layers, the most sensitive first: those that change the logits most when they alone are quantised.

    Measured are :data:`CANDIDATES`, those with the largest errors of their own output; the others follow in
    the order of that error.

    Returns:
        By the layer's name SQNR of the logits in dB; NaN for those that were not measured.
    """
    errors = local_errors(model, judge.reference, judge.calibration)
    by_error = sorted(errors, key=lambda name: -errors[name])
    candidates, rest = by_error[:CANDIDATES], by_error[CANDIDATES:]
    alone = {name: judge.sqnr(model, name, BATCHES) for name in candidates}
    found = dict(sorted(alone.items(), key=lambda item: item[1]))
    found.update(dict.fromkeys(rest, float("nan")))
    return found


class _Search:
    """The fewest layers float.

    Attributes:
        left: those that are, the most sensitive first.
        found: what the network gives with them.
    """

    def __init__(self, model: Model, judge: Judge, ranking: dict[str, float], max_drop: float) -> None:
        self._model, self._judge = model, judge
        self._ranking, self._order, self._max_drop = ranking, list(ranking), max_drop
        self.left = self._order
        self.found = Found(0.0, float("inf"))  # with all of them it is the float network

    def grow(self) -> None:
        """As many of the most sensitive as it takes: twice as many while they do not do, then bisection."""
        low, high = 0, 1
        while high < len(self._order) and not self._try(self._order[:high]):
            low, high = high, 2 * high
        high = min(high, len(self._order))
        while high - low > 1:
            middle = (low + high) // 2
            if self._try(self._order[:middle]):
                high = middle
            else:
                low = middle

    def shrink(self) -> None:
        """Quantise again what is not needed, the least sensitive first; several at a time of very many."""
        size = -(-len(self.left) // TRIES)
        backwards = self.left[::-1]
        for start in range(0, len(backwards), size):
            again = backwards[start : start + size]
            self._try([name for name in self.left if name not in again])

    def _try(self, left: list[str]) -> bool:
        found = self._judge.judge(self._model, [name for name in self._order if name not in left])
        if found.drop > self._max_drop:
            return False
        self.left, self.found = left, found
        return True

    def notes(self) -> tuple[str, ...]:
        listed = ", ".join(f"{name} ({value:.1f} dB)" for name, value in list(self._ranking.items())[:LISTED])
        return (
            f"float_layers=auto leaves {len(self.left)} of {len(self._order)} float: {', '.join(self.left)}",
            f"with them: {self.found}",
            f"most sensitive, alone in INT8: {listed}",
        )
