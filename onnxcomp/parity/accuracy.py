"""Top-1 and top-5 accuracy of a network on labelled images, with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from onnxcomp import runtime
from onnxcomp.data import ImageSet, evaluation_batches
from onnxcomp.errors import DataError, ModelError
from onnxcomp.model import Model
from onnxcomp.providers import Provider

TOP5 = 5


@dataclass(frozen=True)
class Accuracy:
    """Share of images, in percent.

    Attributes:
        top1: the label has the highest logit (the first of equal ones counts).
        top5: the label is among the five highest; None where there are five classes or fewer.
        count: number of images.
    """

    top1: float
    top5: float | None
    count: int


def evaluate_accuracy(
    model: Model,
    image_set: ImageSet,
    *,
    threads: int,
    batch_size: int = 100,
    provider: Provider = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Accuracy:
    """Classify every image of ``image_set``; arguments and errors of :func:`rank_labels`."""
    ranks = rank_labels(
        model, image_set, threads=threads, batch_size=batch_size, provider=provider, progress=progress
    )
    return of_ranks(ranks, model.num_classes)


def rank_labels(
    model: Model,
    image_set: ImageSet,
    *,
    threads: int,
    batch_size: int = 100,
    provider: Provider = "cpu",
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Classify every image of ``image_set``: ranks of their labels, int64 [N], 0 for a right answer.

    A network with a fixed batch runs at that batch, its last batch filled up with zeros that do not count.

    Args:
        batch_size: images per run where the network's batch is free.
        provider: of ONNX Runtime.
        progress: called with the number of images after each batch.

    Raises:
        ModelError: ``model.preprocessing`` is None, or ONNX Runtime cannot load the network.
        DataError: ``image_set`` is empty.
    """
    if model.preprocessing is None:
        raise ModelError("does not say how its images are normalised", where=model.image.name)
    if not len(image_set):
        raise DataError("there is no image to evaluate on")
    session = runtime.session(model, threads=threads, provider=provider)
    channels, height, width = model.image_shape
    size = model.batch or batch_size
    ranks = []
    batches = evaluation_batches(image_set, (height, width), model.preprocessing, channels, size)
    for images, labels in batches:
        if model.batch is not None:
            images = pad(images, model.batch)
        (logits,) = session.run(None, {model.image.name: images})
        ranks.append(label_ranks(logits[: len(labels)], labels))
        if progress is not None:
            progress(len(labels))
    return np.concatenate(ranks)


def of_ranks(ranks: np.ndarray, classes: int) -> Accuracy:
    """The accuracy that ``ranks`` (int64 [N]) of labels are, among ``classes`` classes."""
    top5 = percent(ranks < TOP5) if classes > TOP5 else None
    return Accuracy(percent(ranks < 1), top5, len(ranks))


def accuracy(model: Model, image_set: ImageSet, *, threads: int) -> float:
    """Top-1 accuracy in percent; errors of :func:`evaluate_accuracy`."""
    return evaluate_accuracy(model, image_set, threads=threads).top1


def label_ranks(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes come before the label of each image, int64 [N].

    Args:
        logits: float [N, classes]; an image with a NaN among its logits ranks last.
        labels: int64 [N].
    """
    classes = logits.shape[1]
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    earlier = np.arange(classes)[None, :] < labels[:, None]
    ranks: np.ndarray = ((logits > own) | ((logits == own) & earlier)).sum(axis=1)
    return np.where(np.isnan(logits).any(axis=1), classes, ranks)


def pad(images: np.ndarray, batch: int) -> np.ndarray:
    """Fill ``images`` [B, C, H, W] up to ``batch`` images with zeros."""
    missing = batch - len(images)
    return images if missing <= 0 else np.pad(images, [(0, missing), (0, 0), (0, 0), (0, 0)])


def percent(hits: np.ndarray) -> float:
    """Share of True, in percent."""
    return float(100 * np.count_nonzero(hits) / hits.size)
