"""Images and their labels, and the two sets of them (train, test) that a data set consists of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from onnxcomp.data.decoded import Decoded, Size
from onnxcomp.data.images import fit
from onnxcomp.data.ordered import in_order
from onnxcomp.data.statistics import Statistics, statistics_of
from onnxcomp.errors import DataError

CACHE_BYTES = 2**30
UNLABELLED = -1
"""Label of each image of a set without labels."""
CHECK_CHUNK = 256


class ImageSource(Protocol):
    """Where images come from."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image:
        """The RGB image at its own size.

        Raises:
            DataError: it is broken; names the file.
        """
        ...


@dataclass(frozen=True, eq=False)
class ArrayImages:
    """Images already in memory.

    Attributes:
        pixels: uint8 of shape (N, H, W, 3).
    """

    pixels: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> Image.Image:
        """The image at its own size."""
        return Image.fromarray(self.pixels[index])


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images, all of them labelled or none.

    Attributes:
        source: where the images come from.
        labels: int64 of shape (N,), each in 0..len(classes) - 1; or each :data:`UNLABELLED`.
        classes: class names by label.
        flip: a mirrored image still shows its class.
    """

    source: ImageSource
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    flip: bool = True
    _decoded: dict[Size, Decoded] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def from_arrays(
        cls, images: NDArray[np.uint8], labels: NDArray[np.int64], classes: Sequence[str], flip: bool = True
    ) -> ImageSet:
        """A set of images in memory: uint8 (N, H, W, 3) and int64 (N,)."""
        return cls(ArrayImages(images), labels, tuple(classes), flip)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def labelled(self) -> bool:
        """Whether it is known what the images show."""
        return bool((self.labels != UNLABELLED).all())

    def fits_in_memory(self, size: Size) -> bool:
        """Whether all images, decoded at ``size`` (H, W), take at most 1 GiB: then they are kept."""
        return len(self) * size[0] * size[1] * 3 <= CACHE_BYTES

    def load(self, indices: Sequence[int] | NDArray[np.int64], size: Size) -> NDArray[np.uint8]:
        """Decode, scale the shorter side to fit and crop the centre; safe from several threads.

        Args:
            indices: B positions in the set.
            size: (H, W).

        Returns:
            uint8 of shape (B, H, W, 3), a copy.

        Raises:
            DataError: a broken image; names the file.
        """
        chosen = np.asarray(indices, np.int64)
        if isinstance(self.source, ArrayImages) and self.source.pixels.shape[1:3] == size:
            return self.source.pixels[chosen]
        if self.fits_in_memory(size):
            if size not in self._decoded:  # setdefault: two threads may come here at once
                self._decoded.setdefault(size, Decoded(len(self), size, lambda i: self._read(i, size)))
            return self._decoded[size].load(chosen)
        images = np.empty((len(chosen), *size, 3), np.uint8)
        for row, index in enumerate(chosen):
            images[row] = self._read(int(index), size)
        return images

    def _read(self, index: int, size: Size) -> NDArray[np.uint8]:
        return fit(self.source.image(index), size)

    def check(
        self, size: Size, progress: Callable[[int], None] = lambda count: None, workers: int = 0
    ) -> None:
        """Decode every image, so that a broken one is found before training and not during it.

        Args:
            size: (H, W) that the images will be loaded at; where they fit in memory they stay there.
            progress: called with the number of images just decoded.
            workers: threads that decode; with 0 the caller's.

        Raises:
            DataError: a broken image; names the file.
        """

        def decode(start: int) -> int:
            return len(self.load(np.arange(start, min(start + CHECK_CHUNK, len(self))), size))

        for count in in_order(decode, range(0, len(self), CHECK_CHUNK), workers):
            progress(count)


@dataclass(frozen=True, eq=False)
class DataSet:
    """Training and test images of the same classes.

    Attributes:
        name: what to call it in reports.
        known: statistics of the training images where they are known beforehand.
    """

    name: str
    train: ImageSet
    test: ImageSet
    known: Statistics | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names by label."""
        return self.train.classes

    def require_labels(self, who: str, fix: str = "") -> None:
        """Refuse training images without labels.

        Args:
            who: needs them.
            fix: a way without, if there is one.

        Raises:
            DataError: there are none.
        """
        if not self.train.labelled:
            arrange = "arrange them in class folders, or as y_train"
            raise DataError(
                f"its training images have no labels, which {who} needs",
                where=f"data {self.name}",
                fix=f"{fix}, or {arrange}" if fix else arrange,
            )

    @cached_property
    def statistics(self) -> Statistics:
        """Of the training images: known, or computed when first asked for.

        Raises:
            DataError: a broken image; names the file.
        """
        return self.known or statistics_of(self.train.source)

    @property
    def mean(self) -> tuple[float, float, float]:
        """Channel means of the training images, RGB, 0..255."""
        return self.statistics.mean

    @property
    def std(self) -> tuple[float, float, float]:
        """Channel deviations of the training images, RGB, 0..255, at least 1."""
        return self.statistics.std


def checked_labels(labels: NDArray[np.generic], classes: Sequence[str], where: str) -> NDArray[np.int64]:
    """Labels as int64, each a class.

    Raises:
        DataError: a label outside 0..len(classes) - 1.
    """
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(classes):
        raise DataError(
            f"holds the label {low if low < 0 else high}, outside 0..{len(classes) - 1}",
            where=where,
            fix="number the classes from 0 without gaps",
        )
    return labels.astype(np.int64)
