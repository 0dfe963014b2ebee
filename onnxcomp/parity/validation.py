"""Does a network still answer as another one did: accuracy, agreement and Polygraphy's comparison."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from onnxcomp.data import ImageSet, evaluation_batches
from onnxcomp.errors import DataError, ModelError, OnnxcompError
from onnxcomp.model import Model
from onnxcomp.parity.accuracy import Accuracy, evaluate_accuracy
from onnxcomp.parity.comparator import Tolerance
from onnxcomp.parity.compare import Comparison, check_interfaces, compare
from onnxcomp.parity.sample import evenly_spaced

COMPARISON_BATCH = 50
ROUNDING = 1e-9  # points; a drop of exactly the limit passes whatever its last bit


@dataclass(frozen=True)
class Limits:
    """What a candidate must hold.

    Attributes:
        max_drop: points of top-1 that it may lose; None for no limit.
        min_agreement: least share of images with the same top-1 class, in percent; None for none.
        tolerance: of its logits against the reference's; None for none.

    Raises:
        OnnxcompError: a limit is NaN, which every candidate would hold.
    """

    max_drop: float | None = 0.5
    min_agreement: float | None = None
    tolerance: Tolerance | None = None

    def __post_init__(self) -> None:
        limits = {"--max-drop": self.max_drop, "--min-agreement": self.min_agreement}
        if self.tolerance is not None:
            limits |= {"--atol": self.tolerance.atol, "--rtol": self.tolerance.rtol}
        for option, value in limits.items():
            if value is not None and math.isnan(value):
                raise OnnxcompError("nan is no limit", where=option, fix="give a number")


@dataclass(frozen=True)
class Validation:
    """A candidate measured against a reference.

    Attributes:
        reference: accuracy of the reference.
        candidate: accuracy of the candidate.
        drop: points of top-1 lost; negative where the candidate is better.
        comparison: of the logits, on some of the images.
        failures: one line for each check that did not hold.
        passed: no check failed.
    """

    reference: Accuracy
    candidate: Accuracy
    drop: float
    comparison: Comparison
    failures: tuple[str, ...]
    passed: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "passed", not self.failures)


def validate(
    reference: Model,
    candidate: Model,
    image_set: ImageSet,
    limits: Limits,
    *,
    threads: int,
    samples: int = 200,
    batch_size: int = 100,
    progress: Callable[[int], None] | None = None,
) -> Validation:
    """Evaluate both networks on ``image_set`` and compare their logits on ``samples`` of its images.

    Args:
        samples: evenly spaced; rounded to whole batches where a network's batch is fixed.
        progress: called with a number of images, twice for each image.

    Raises:
        ModelError: the networks take different images or tell different classes apart.
        DataError: ``image_set`` is empty.
    """
    check_interfaces(reference, candidate)
    _check_preprocessing(reference, candidate)
    images = sample_batches(reference, image_set, samples, batch=reference.batch or candidate.batch)
    comparison = compare(reference, candidate, images, threads=threads, tolerance=limits.tolerance)
    before, after = (
        evaluate_accuracy(model, image_set, threads=threads, batch_size=batch_size, progress=progress)
        for model in (reference, candidate)
    )
    failures = tuple(_failures(before, after, comparison, limits))
    return Validation(before, after, before.top1 - after.top1, comparison, failures)


def _check_preprocessing(reference: Model, candidate: Model) -> None:
    first, second = reference.preprocessing, candidate.preprocessing
    if (
        first is None
        or second is None
        or not np.allclose([first.mean, first.std], [second.mean, second.std], rtol=1e-4)
    ):
        raise ModelError(
            f"their images are normalised differently ({first} and {second})",
            where="reference and candidate",
            fix="compare networks that take the same input",
        )


def sample_batches(model: Model, image_set: ImageSet, samples: int, batch: int | None) -> list[np.ndarray]:
    """Evenly spaced images as ``model`` takes them, a list of float32 [B, C, H, W].

    Args:
        batch: images in every batch; None where it is free.

    Raises:
        DataError: ``image_set`` is empty.
    """
    if not len(image_set) or model.preprocessing is None:
        raise DataError("there is no image to compare on")
    count = min(samples, len(image_set))
    size = batch or min(count, COMPARISON_BATCH)
    if batch is not None:
        count = max(count // batch, 1) * batch
    channels, height, width = model.image_shape
    chosen = evenly_spaced(image_set, count)
    batches = evaluation_batches(chosen, (height, width), model.preprocessing, channels, size)
    return [images for images, _ in batches]


def _failures(before: Accuracy, after: Accuracy, comparison: Comparison, limits: Limits) -> list[str]:
    lines = []
    drop = before.top1 - after.top1
    if not comparison.finite:
        lines.append(f"NaN or infinity among the logits of {comparison.count} images")
    if limits.max_drop is not None and drop > limits.max_drop + ROUNDING:
        lines.append(
            f"top-1 falls by {drop:.2f} points, from {before.top1:.2f} % to {after.top1:.2f} %"
            f" on {before.count} images; at most {limits.max_drop:g} is allowed"
        )
    if limits.min_agreement is not None and comparison.agreement < limits.min_agreement - ROUNDING:
        lines.append(
            f"the same top-1 class on {comparison.agreement:.2f} % of {comparison.count} images;"
            f" at least {limits.min_agreement:g} % is asked for"
        )
    if limits.tolerance is not None and not comparison.passed:
        asked = limits.tolerance
        lines.append(
            f"logits differ by at most {comparison.max_absolute:.3g}, on average"
            f" {comparison.mean_absolute:.3g}: not within atol {asked.atol:g}, rtol {asked.rtol:g}"
            f" ({asked.error_stat})"
        )
    return lines


def validation_rows(found: Validation) -> list[tuple[str, str]]:
    """The measurements as pairs of name and text, for a table."""
    comparison = found.comparison
    return [
        ("top-1 reference", f"{found.reference.top1:.2f} %"),
        ("top-1 candidate", f"{found.candidate.top1:.2f} %"),
        ("drop", f"{found.drop:.2f} points"),
        ("images", f"{found.reference.count:,}"),
        ("images compared", f"{comparison.count:,}"),
        ("same top-1 class", f"{comparison.agreement:.2f} %"),
        ("max absolute difference", f"{comparison.max_absolute:.3g}"),
        ("mean absolute difference", f"{comparison.mean_absolute:.3g}"),
        ("max relative difference", f"{comparison.max_relative:.3g}"),
        ("cosine", f"{comparison.cosine:.6f}"),
        ("SQNR", f"{comparison.sqnr:.1f} dB"),
    ]
