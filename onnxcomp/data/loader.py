"""Batches of a set: for training shuffled and augmented, for evaluation in order."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxcomp.data.augment import Augmentation, parse, uniforms
from onnxcomp.data.dataset import ImageSet
from onnxcomp.data.decoded import Size
from onnxcomp.data.ordered import in_order
from onnxcomp.data.transforms import to_input
from onnxcomp.errors import DataError

if TYPE_CHECKING:
    from onnxcomp.model import Preprocessing

Batch = tuple[NDArray[np.float32], NDArray[np.int64]]
Batches = Generator[Batch, None, None]
STANDARD, NONE = "standard", "none"


@dataclass(frozen=True, eq=False)
class TrainingBatches:
    """Shuffled batches; the images of an epoch that make no whole step are left out.

    A step consists of ``parts`` micro-batches (ranks times accumulated batches). What each holds
    depends on the fields and the step alone, so a resumed run sees what the interrupted one would have
    seen; and every image's augmentation on (seed, epoch, position in the epoch) alone, so the same
    images in the same order come out of one part of 32 and of four parts of 8.

    Attributes:
        size: (H, W) of the network's input.
        channels: 3, or 1 for a network that takes grey images.
        batch_size: images of a micro-batch.
        seed: at least 0.
        augment: an augmentation or its text form; True is ``standard`` and False ``none``.
        parts: micro-batches of a step.

    Raises:
        DataError: the set is smaller than a step, a batch is empty, or no such augmentation.
    """

    image_set: ImageSet
    size: Size
    preprocessing: Preprocessing
    channels: int
    batch_size: int
    seed: int
    augment: Augmentation | str | bool = STANDARD
    parts: int = 1
    _orders: dict[int, NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        count, step = len(self.image_set), self.batch_size * self.parts
        if self.batch_size < 1 or self.parts < 1 or step > count:
            times = "" if self.parts == 1 else f" times {self.parts}"
            most = count // max(1, self.parts)
            raise DataError(
                f"a batch of {self.batch_size}{times} cannot be made of {count} training images",
                where="batch size",
                fix=f"choose 1 to {most}" if most else "accumulate less or take fewer ranks",
            )
        if isinstance(self.augment, bool):
            object.__setattr__(self, "augment", STANDARD if self.augment else NONE)
        if isinstance(self.augment, str):
            object.__setattr__(self, "augment", parse(self.augment))

    @property
    def steps_per_epoch(self) -> int:
        """Whole steps in the set."""
        return len(self.image_set) // (self.batch_size * self.parts)

    @property
    def varies(self) -> bool:
        """Whether an image may be another one in each epoch."""
        assert isinstance(self.augment, Augmentation)
        return self.augment.draws > 0

    def indices(self, step: int, part: int = 0) -> NDArray[np.int64]:
        """Places in the set of the images of a micro-batch, (batch_size,)."""
        epoch, index = divmod(step, self.steps_per_epoch)
        first = (index * self.parts + part) * self.batch_size
        return self._order(epoch)[first : first + self.batch_size]

    def batch(self, step: int, part: int = 0) -> Batch:
        """A micro-batch of a step, counted from 0 through all epochs.

        Returns:
            float32 of shape (batch_size, channels, H, W) and int64 of shape (batch_size,).

        Raises:
            DataError: a broken image; names the file.
            ValueError: ``part`` is not one of 0..parts - 1.
        """
        if not 0 <= part < self.parts:
            raise ValueError(f"part {part} of {self.parts}")
        assert isinstance(self.augment, Augmentation)
        epoch, index = divmod(step, self.steps_per_epoch)
        first = (index * self.parts + part) * self.batch_size
        chosen = self.indices(step, part)
        draws = uniforms(self.seed, epoch, first, self.batch_size, self.augment.draws)
        images = self.augment.load(self.image_set, chosen, self.size, draws, self.preprocessing.mean)
        return to_input(images, self.preprocessing, self.channels), self.image_set.labels[chosen]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        order = self._orders.get(epoch)
        if order is None:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.image_set))
            self._orders[epoch] = order
            # An epoch's order is asked for many times; at its end, the next one's in between.
            for other in [*self._orders]:
                if abs(other - epoch) > 1:
                    self._orders.pop(other, None)
        return order

    def iterate(
        self, start_step: int, stop_step: int, parts: Sequence[int] | None = None, workers: int = 1
    ) -> Batches:
        """Micro-batches of ``start_step`` to ``stop_step - 1``, step by step and part by part.

        They are prepared a few ahead and come in order, the same bits whatever the number of threads.

        Args:
            parts: which of each step, in the order wanted; all by default.
            workers: threads; with 0 the caller's thread does the work when asked.

        Raises:
            DataError: as for :meth:`batch`, in the place of the batch it concerns.
        """
        chosen = range(self.parts) if parts is None else parts
        items = ((step, part) for step in range(start_step, stop_step) for part in chosen)
        return in_order(lambda item: self.batch(*item), items, workers)


def evaluation_batches(
    image_set: ImageSet,
    size: Size,
    preprocessing: Preprocessing,
    channels: int,
    batch_size: int,
    workers: int = 1,
) -> Batches:
    """The whole set in order; the last batch may be smaller. Prepared a few ahead by threads.

    Args:
        workers: threads; with 0 the caller's thread does the work when asked.

    Yields:
        float32 of shape (B, channels, H, W) and int64 of shape (B,).

    Raises:
        DataError: a broken image; names the file.
    """

    def batch(start: int) -> Batch:
        chosen = np.arange(start, min(start + batch_size, len(image_set)))
        images = image_set.load(chosen, size)
        return to_input(images, preprocessing, channels), image_set.labels[chosen]

    return in_order(batch, range(0, len(image_set), batch_size), workers)
