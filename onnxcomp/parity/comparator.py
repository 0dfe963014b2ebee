"""Polygraphy's Comparator over two ONNX Runtime sessions, from version 0.49 to 0.53."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

ErrorStat = Literal["max", "mean", "median", "elemwise"]


@dataclass(frozen=True)
class Tolerance:
    """What Polygraphy's ``SimpleCompareFunc`` accepts.

    Attributes:
        atol: absolute tolerance.
        rtol: tolerance as a share of the reference's value.
        error_stat: which errors must be within a tolerance: each element's (``elemwise``), or the largest,
            mean or median.
    """

    atol: float = 1e-5
    rtol: float = 1e-5
    error_stat: ErrorStat = "elemwise"


@dataclass(frozen=True)
class Verdict:
    """What the Comparator ran and found.

    Attributes:
        reference: logits float32 [N, classes].
        candidate: logits float32 [N, classes].
        finite: ``Comparator.validate`` found no NaN and no infinity in either.
        passed: ``Comparator.compare_accuracy`` at the tolerance; None without one.
        batches: number of images in each run.
    """

    reference: np.ndarray
    candidate: np.ndarray
    finite: bool
    passed: bool | None
    batches: tuple[int, ...]


def judge(
    reference: Callable[[], Any],
    candidate: Callable[[], Any],
    feeds: list[dict[str, np.ndarray]],
    tolerance: Tolerance | None,
) -> Verdict:
    """Run two sessions, given as functions that make them, on ``feeds`` and let Polygraphy compare.

    Both sessions take the same input name and give one output of the same name.
    """
    from polygraphy.backend.onnxrt import OnnxrtRunner
    from polygraphy.comparator import Comparator
    from polygraphy.logger import G_LOGGER

    # Polygraphy takes relative errors as a share of the second runner's values: that is the reference.
    runners = [
        OnnxrtRunner(candidate, name="candidate"),
        OnnxrtRunner(reference, name="reference"),
    ]
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
        results = Comparator.run(runners, data_loader=feeds)
        finite = bool(Comparator.validate(results, check_inf=True, check_nan=True))
        passed = None if tolerance is None else _passed(results, tolerance)
    logits = {name: np.concatenate([_only(run) for run in runs]) for name, runs in results}
    batches = tuple(len(image) for feed in feeds for image in feed.values())
    return Verdict(logits["reference"], logits["candidate"], finite, passed, batches)


def judge_answers(
    reference: np.ndarray, candidate: np.ndarray, batches: tuple[int, ...], tolerance: Tolerance | None
) -> Verdict:
    """The same of answers that are there already, float32 [N, classes], given in ``batches`` of images."""
    from polygraphy.comparator import Comparator, IterationResult, RunResults
    from polygraphy.logger import G_LOGGER

    parts = np.cumsum(batches)[:-1]
    runs = [
        (name, [IterationResult({"logits": part}, runner_name=name) for part in np.split(logits, parts)])
        for name, logits in (("candidate", candidate), ("reference", reference))
    ]
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
        results = RunResults(runs)
        finite = bool(Comparator.validate(results, check_inf=True, check_nan=True))
        passed = None if tolerance is None else _passed(results, tolerance)
    return Verdict(reference, candidate, finite, passed, batches)


def _passed(results: Any, tolerance: Tolerance) -> bool:
    from polygraphy import comparator

    # 0.53 has a class where 0.49 has a factory.
    compare = getattr(comparator, "SimpleCompareFunc", None) or comparator.CompareFunc.simple
    function = compare(atol=tolerance.atol, rtol=tolerance.rtol, check_error_stat=tolerance.error_stat)
    return bool(comparator.Comparator.compare_accuracy(results, compare_func=function))


def _only(run: Any) -> np.ndarray:
    """The one output of an iteration."""
    (values,) = run.values()
    return np.asarray(values)
