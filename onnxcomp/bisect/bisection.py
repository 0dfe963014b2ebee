"""Which layers are to blame: each alone, the first in order, and the smallest set."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from onnxcomp.bisect.hybrid import Hybrids
from onnxcomp.bisect.local import Suspect, outliers, suspects
from onnxcomp.bisect.search import Budget, first_position, smallest
from onnxcomp.bisect.trials import Batches, By, Score, Trials
from onnxcomp.model import Model
from onnxcomp.parity.compare import check_interfaces

HALF, MANY = 0.5, 0.25
MOST = 1e30
"""Of a loss: shares of what is infinite are none."""


@dataclass(frozen=True)
class Bisection:
    """Who is to blame.

    Attributes:
        by: what is lost: exactness of the ``logits`` (:attr:`Score.noise`), or ``top-1`` accuracy.
        reference, candidate: their scores.
        recover: share of the loss that the smallest set must bring back, in percent.
        suspects: every piece, the least exact first.
        differing: how many of them rounding does not explain; see :func:`onnxcomp.bisect.local.outliers`.
        outliers: those, in order; none where they are more than a quarter of all, as after training, when
            layers fit each other and not the reference's.
        corrected: score of the candidate with the outliers from the reference.
        crossing: the first piece in order with which, all before it being the candidate's too, at least half
            of the loss is there; None where the outliers tell already, or nothing is lost.
        blamed: smallest set found whose return to the reference's brings back ``recover``, in order.
        minimal: each of ``blamed`` is known to be needed.
        mended: score of the candidate with ``blamed`` from the reference.
        images: number of images.
        trials: networks that were run.
    """

    by: By
    reference: Score
    candidate: Score
    recover: float
    suspects: tuple[Suspect, ...]
    differing: int
    outliers: tuple[Suspect, ...]
    corrected: Score
    crossing: Suspect | None
    blamed: tuple[Suspect, ...]
    minimal: bool
    mended: Score
    images: int
    trials: int

    @property
    def first(self) -> Suspect | None:
        """The first node at fault: an outlier, or else the crossing."""
        return self.outliers[0] if self.outliers else self.crossing

    @property
    def recovered(self) -> float:
        """Share of the loss that ``blamed`` brings back, in percent; 0 where nothing is lost."""
        return self._recovered(self.mended)

    @property
    def recovered_by_outliers(self) -> float:
        """Share of the loss that ``outliers`` bring back, in percent; 0 where nothing is lost."""
        return self._recovered(self.corrected)

    def _recovered(self, score: Score) -> float:
        lost, left = (_loss(one, self.reference, self.by) for one in (self.candidate, score))
        return 100 * (1 - left / lost) if lost > 0 else 0.0


def _loss(score: Score, reference: Score, by: By) -> float:
    found = reference.top1 - score.top1 if by == "top-1" else score.noise
    return min(found, MOST)


def bisect(
    reference: Model,
    candidate: Model,
    batches: Batches,
    *,
    threads: int,
    by: By = "logits",
    recover: float = 50,
    trials: int = 40,
    progress: Callable[[str], None] = lambda what: None,
) -> Bisection:
    """Find the layers of ``candidate`` that make it answer worse than ``reference``.

    Q/DQ pairs round in float32 here, as on a GPU: a fault of one CPU's integer kernels is not found.

    Args:
        batches: normalised images float32 [B, C, H, W] and their labels int64 [B].
        by: what is lost.
        recover: share of the loss to bring back, in percent, above 0 and at most 100.
        trials: most networks between the two that are run for the smallest set; more find a smaller one.
        progress: told before each network is run what for.

    Raises:
        ModelError: the networks cannot be fed the same images, brought to one opset, or loaded.
    """
    check_interfaces(reference, candidate)
    progress("the networks themselves")
    hybrids = Hybrids(reference, candidate)
    runs = Trials(hybrids, batches, threads)
    whole, best = runs.score([]), runs.score(runs.names)
    progress("each layer alone")
    found = suspects(hybrids, np.concatenate([images for images, _ in batches]), threads)
    by_name = {suspect.tensor: suspect for suspect in found}
    wrong = {one.tensor for one in outliers(found)}
    differing = len(wrong)
    if differing > MANY * len(found):
        wrong = set()
    search = _Search(runs, by, whole, best, recover, Budget(trials), progress)
    crossing, blamed, minimal = search.run(list(by_name), [name for name in runs.names if name in wrong])
    return Bisection(
        by=by,
        reference=best,
        candidate=whole,
        recover=recover,
        suspects=tuple(found),
        differing=differing,
        outliers=tuple(by_name[name] for name in runs.names if name in wrong),
        corrected=runs.score(wrong),
        crossing=None if crossing is None else by_name[crossing],
        blamed=tuple(by_name[name] for name in runs.names if name in blamed),
        minimal=minimal,
        mended=runs.score(blamed),
        images=runs.images,
        trials=runs.count,
    )


@dataclass
class _Search:
    """The searches, and what they share."""

    runs: Trials
    by: By
    whole: Score
    best: Score
    recover: float
    budget: Budget
    progress: Callable[[str], None]

    def run(self, ranked: list[str], wrong: list[str]) -> tuple[str | None, list[str], bool]:
        """(the crossing, the smallest set, whether each of it is needed).

        Args:
            ranked: all tensors, the least exact first.
            wrong: the outliers in order; tried before anything else is looked for.
        """
        if not _loss(self.whole, self.best, self.by) > 0:
            return None, [], True
        if wrong and self._cured(wrong):
            return (None, *smallest(wrong, self._cured, self.budget))
        crossing = self._crossing()
        first = [*wrong, crossing]
        return (crossing, *smallest(list(dict.fromkeys([*first, *ranked])), self._cured, self.budget))

    def _share(self, of_reference: Sequence[str]) -> float:
        """Of the loss, that is there with these pieces of the reference."""
        left = _loss(self.runs.score(of_reference), self.best, self.by)
        return left / _loss(self.whole, self.best, self.by)

    def _cured(self, chosen: Sequence[str]) -> bool:
        self.progress(f"{len(chosen)} of the reference's, {self.budget.left} trials left")
        return self._share(chosen) <= 1 - self.recover / 100

    def _crossing(self) -> str:
        names = self.runs.names
        steps = math.ceil(math.log2(max(len(names), 2)))

        def lost(count: int) -> bool:
            self.progress(f"up to layer {count} of {len(names)}, about {steps} trials")
            return self._share(names[count:]) >= HALF

        return names[first_position(len(names), lost) - 1]
