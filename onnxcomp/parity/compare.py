"""Two networks on the same images: how far apart their logits are, by Polygraphy and in numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxcomp import extras, runtime
from onnxcomp.errors import ModelError
from onnxcomp.model import Model
from onnxcomp.parity.accuracy import percent
from onnxcomp.parity.comparator import Tolerance, Verdict, judge
from onnxcomp.providers import Provider
from onnxcomp.student import student


@dataclass(frozen=True)
class Comparison:
    """How the candidate's logits differ from the reference's.

    Attributes:
        max_absolute: largest absolute difference.
        mean_absolute: mean absolute difference.
        max_relative: largest of the differences over the reference's absolute value, element by element.
        cosine: of the angle between the two vectors of logits, mean over the images.
        sqnr: power of the reference over power of the difference, in dB; infinite where they are equal.
        agreement: images on which both have the same top-1 class, in percent.
        finite: neither gives NaN or infinity.
        passed: Polygraphy's verdict at the tolerance, None where none was asked for.
        count: number of images.
    """

    max_absolute: float
    mean_absolute: float
    max_relative: float
    cosine: float
    sqnr: float
    agreement: float
    finite: bool
    passed: bool | None
    count: int


def compare(
    reference: Model,
    candidate: Model,
    images: Sequence[np.ndarray],
    *,
    threads: int,
    tolerance: Tolerance | None = None,
    provider: Provider = "cpu",
) -> tuple[Comparison, Verdict]:
    """Run both networks on ``images``, a list of float32 [B, C, H, W] normalised batches.

    Outputs are compared by position; inputs and outputs may be called differently.

    Args:
        provider: of ONNX Runtime.

    Returns:
        The figures, and what Polygraphy ran and found.

    Raises:
        ModelError: shapes differ, or ONNX Runtime cannot load one of them.
        MissingPackageError: Polygraphy or ONNX Runtime is not installed.
    """
    check_interfaces(reference, candidate)
    extras.onnxruntime()
    twin = with_names_of(candidate, reference)
    feeds = [{reference.image.name: batch} for batch in images]
    verdict = judge(
        lambda: runtime.session(reference, threads=threads, provider=provider),
        lambda: runtime.session(twin, threads=threads, provider=provider),
        feeds,
        tolerance,
    )
    return measure(verdict), verdict


def check_interfaces(reference: Model, candidate: Model) -> None:
    """Refuse two networks that cannot be fed the same images or do not tell the same classes apart.

    Raises:
        ModelError: image shapes, numbers of classes or fixed batches differ.
    """
    pairs = (
        ("image shapes", reference.image_shape, candidate.image_shape),
        ("numbers of classes", reference.num_classes, candidate.num_classes),
    )
    for what, first, second in pairs:
        if first != second:
            raise ModelError(
                f"the {what} differ ({first} and {second})",
                where="reference and candidate",
                fix="compare two forms of one network",
            )
    batches = {reference.batch, candidate.batch} - {None}
    if len(batches) > 1:
        raise ModelError(
            f"the fixed batches differ ({reference.batch} and {candidate.batch})",
            where="reference and candidate",
            fix="export both with the same batch, or one with a free batch",
        )


def with_names_of(model: Model, other: Model) -> Model:
    """The student of ``model`` with its input and output called as those of ``other``."""
    twin = student(model)
    tensors = twin.graph.tensors()
    for tensor, name in ((twin.image, other.image.name), (twin.logits, other.logits.name)):
        namesake = tensors.get(name)
        if namesake is not None and namesake is not tensor:
            namesake.name = f"{name}.inner"
        tensor.name = name
    return twin


def measure(verdict: Verdict) -> Comparison:
    """The figures of what Polygraphy ran."""
    reference = verdict.reference.astype(np.float64)
    candidate = verdict.candidate.astype(np.float64)
    # A NaN or an infinity spreads to the figures; `finite` reports it.
    with np.errstate(all="ignore"):
        absolute = np.abs(candidate - reference)
        relative = np.where(absolute == 0, 0.0, absolute / np.abs(reference))
        return Comparison(
            max_absolute=float(absolute.max()),
            mean_absolute=float(absolute.mean()),
            max_relative=float(relative.max()),
            cosine=float(_cosine(reference, candidate).mean()),
            sqnr=_sqnr(reference, absolute),
            agreement=percent(reference.argmax(axis=1) == candidate.argmax(axis=1)),
            finite=verdict.finite,
            passed=verdict.passed,
            count=len(reference),
        )


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of each pair of rows; 1 where both are zero, 0 where only one is."""
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    cosine: np.ndarray = (a * b).sum(axis=1) / np.where(norms == 0, 1.0, norms)
    return np.where(both_zero, 1.0, cosine)


def _sqnr(reference: np.ndarray, error: np.ndarray) -> float:
    """10 log10(signal power / error power), in dB."""
    noise = float(np.square(error).sum())
    if noise == 0:
        return math.inf
    return float(10 * np.log10(np.square(reference).sum() / noise))
