"""Does a network still answer as another one did: accuracy, agreement and Polygraphy's comparison."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np

from onnxcomp.data import ImageSet, evaluation_batches
from onnxcomp.errors import DataError, ModelError
from onnxcomp.model import Model
from onnxcomp.parity.accuracy import Accuracy, of_ranks, rank_labels
from onnxcomp.parity.checks import Check, comparison_checks, drop_checks, layer_check
from onnxcomp.parity.comparator import Verdict, judge_answers
from onnxcomp.parity.compare import Comparison, check_interfaces, compare, measure
from onnxcomp.parity.interval import Drop, paired_drop
from onnxcomp.parity.layers import LayerErrors, compare_layers
from onnxcomp.parity.limits import Limits
from onnxcomp.parity.polygraphy_files import Run
from onnxcomp.parity.sample import evenly_spaced
from onnxcomp.providers import Provider

COMPARISON_BATCH = 50
Show = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]


def quiet(step: str, images: int) -> AbstractContextManager[Callable[[int], None]]:
    """Shows nothing."""
    return nullcontext(lambda count: None)


@dataclass(frozen=True)
class Validation:
    """A candidate measured against a reference.

    Attributes:
        reference: accuracy of the reference.
        candidate: accuracy of the candidate.
        drop: points of top-1 lost, with its interval.
        comparison: of the logits, on some of the images.
        verdict: what Polygraphy compared there.
        runs: the same of answers that something else gave, by its name.
        layers: inner tensors; None where they were not asked for.
        checks: each limit held against what was found.
        notes: lines worth reading though every check holds.
        failures: one line for each check that did not hold.
        passed: no check failed.
    """

    reference: Accuracy
    candidate: Accuracy
    drop: Drop
    comparison: Comparison
    verdict: Verdict
    runs: Mapping[str, Comparison]
    layers: LayerErrors | None
    checks: tuple[Check, ...]
    notes: tuple[str, ...]
    failures: tuple[str, ...] = field(init=False)
    passed: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "failures", tuple(one.failure for one in self.checks if one.failure))
        object.__setattr__(self, "passed", not self.failures)


@dataclass(frozen=True)
class Pair:
    """Two networks, the images that they are held against each other on, and how they run.

    Attributes:
        reference, candidate: with their preprocessing.
        samples: batches on which logits are compared, float32 [B, C, H, W]; see :func:`sample_batches`.
        threads: of ONNX Runtime.
        provider: of ONNX Runtime.

    Raises:
        ModelError: the networks take different images or tell different classes apart.
    """

    reference: Model
    candidate: Model
    samples: Sequence[np.ndarray]
    threads: int
    provider: Provider = "cpu"

    def __post_init__(self) -> None:
        check_interfaces(self.reference, self.candidate)
        _check_preprocessing(self.reference, self.candidate)

    def answers(self, limits: Limits) -> tuple[Comparison, Verdict]:
        """The logits of both, compared; errors of :func:`onnxcomp.parity.compare.compare`."""
        return compare(
            self.reference,
            self.candidate,
            self.samples,
            threads=self.threads,
            tolerance=limits.tolerance,
            provider=self.provider,
        )

    def layers(self, progress: Callable[[int], None] = lambda count: None) -> LayerErrors:
        """Inner tensors of both, compared; errors of :func:`onnxcomp.parity.layers.compare_layers`."""
        return compare_layers(
            self.reference,
            self.candidate,
            self.samples,
            threads=self.threads,
            provider=self.provider,
            progress=progress,
        )

    def ranks(
        self, image_set: ImageSet, batch_size: int, progress: Callable[[int], None] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ranks of the labels by reference and candidate, int64 [N] each."""
        first, second = (
            rank_labels(
                model,
                image_set,
                threads=self.threads,
                batch_size=batch_size,
                provider=self.provider,
                progress=progress,
            )
            for model in (self.reference, self.candidate)
        )
        return first, second


def validate(
    pair: Pair,
    image_set: ImageSet,
    limits: Limits,
    *,
    layers: bool = False,
    runs: Sequence[Run] = (),
    batch_size: int = 100,
    progress: Show = quiet,
) -> Validation:
    """Evaluate both networks on ``image_set`` and compare their logits on the samples of ``pair``.

    Args:
        layers: compare inner tensors too; done as well where ``limits`` has some for them.
        runs: what others answered to the same samples.
        progress: shows a step, given its name and its number of images, as long as the context lasts.

    Raises:
        ModelError: ONNX Runtime cannot load one of them.
        DataError: ``image_set`` is empty.
    """
    count = sum(len(batch) for batch in pair.samples)
    with progress("comparing logits", count) as advance:
        comparison, verdict = pair.answers(limits)
        advance(count)
    others = {
        run.name: measure(judge_answers(verdict.reference, run.logits, verdict.batches, limits.tolerance))
        for run in runs
    }
    inner = None
    if layers or limits.layers:
        with progress("comparing inner tensors", count) as advance:
            inner = pair.layers(advance)
    with progress("validating", 2 * len(image_set)) as advance:
        first, second = pair.ranks(image_set, batch_size, advance)
    classes = pair.reference.num_classes
    before, after = of_ranks(first, classes), of_ranks(second, classes)
    drop = paired_drop(first < 1, second < 1, limits.confidence)
    checks, notes = drop_checks(drop, before.top1, after.top1, limits)
    checks += comparison_checks(comparison, limits)
    for name, other in others.items():
        checks += comparison_checks(other, limits, name)
    if inner is not None and limits.layers:
        checks.append(layer_check(inner, limits))
    return Validation(before, after, drop, comparison, verdict, others, inner, tuple(checks), tuple(notes))


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
