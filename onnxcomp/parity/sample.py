"""Some of a set's images, evenly spaced: sets are often sorted by class, so the first ones will not do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxcomp.data import ImageSet
from onnxcomp.data.dataset import ArrayImages, ImageSource


@dataclass(frozen=True, eq=False)
class ChosenImages:
    """Some images of another source.

    Attributes:
        source: all of them.
        indices: int64 (N,), positions in ``source``.
    """

    source: ImageSource
    indices: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.indices)

    def image(self, index: int) -> Image.Image:
        """The RGB image at its own size.

        Raises:
            DataError: it is broken; names the file.
        """
        return self.source.image(int(self.indices[index]))


def evenly_spaced(image_set: ImageSet, count: int) -> ImageSet:
    """``count`` images of a set that is not empty, in its order; some repeat where ``count`` is larger."""
    return _chosen(image_set, np.linspace(0, len(image_set) - 1, count).round().astype(np.int64))


def every_nth(image_set: ImageSet, n: int, first: int) -> ImageSet:
    """Images ``first``, ``first + n``, ...: ``n`` such sets make up the whole; one may be empty."""
    return _chosen(image_set, np.arange(first, len(image_set), n))


def _chosen(image_set: ImageSet, indices: NDArray[np.int64]) -> ImageSet:
    source = image_set.source
    chosen = (
        ArrayImages(source.pixels[indices])
        if isinstance(source, ArrayImages)
        else ChosenImages(source, indices)
    )
    return ImageSet(chosen, image_set.labels[indices], image_set.classes, image_set.flip)


def limited(image_set: ImageSet, limit: int | None) -> ImageSet:
    """At most ``limit`` images, evenly spaced; the set itself where it is no larger."""
    if limit is None or limit >= len(image_set):
        return image_set
    return evenly_spaced(image_set, limit)
