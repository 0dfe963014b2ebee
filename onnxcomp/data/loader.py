"""Batches of a set: for training shuffled and augmented, for evaluation in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from onnxcomp.data.dataset import ImageSet
from onnxcomp.data.decoded import Size
from onnxcomp.data.transforms import random_crop, random_flip, to_input
from onnxcomp.errors import DataError

if TYPE_CHECKING:
    from onnxcomp.model import Preprocessing

Batch = tuple[NDArray[np.float32], NDArray[np.int64]]
Batches = Generator[Batch, None, None]
AHEAD = 4


@dataclass(frozen=True, eq=False)
class TrainingBatches:
    """Shuffled batches; the last, incomplete one of an epoch is left out.

    What a step's batch holds depends on the fields and the step alone, so a resumed run sees what the
    interrupted one would have seen.

    Attributes:
        size: (H, W) of the network's input.
        channels: 3, or 1 for a network that takes grey images.
        seed: at least 0.
        augment: random crop and, where the set allows it, random mirroring.

    Raises:
        DataError: the set is smaller than a batch, or a batch is empty.
    """

    image_set: ImageSet
    size: Size
    preprocessing: Preprocessing
    channels: int
    batch_size: int
    seed: int
    augment: bool = True
    _orders: dict[int, NDArray[np.int64]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= len(self.image_set):
            raise DataError(
                f"a batch of {self.batch_size} cannot be made of {len(self.image_set)} training images",
                where="batch size",
                fix=f"choose 1 to {len(self.image_set)}",
            )

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the set."""
        return len(self.image_set) // self.batch_size

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0 through all epochs.

        Returns:
            float32 of shape (batch_size, channels, H, W) and int64 of shape (batch_size,).

        Raises:
            DataError: a broken image; names the file.
        """
        epoch, index = divmod(step, self.steps_per_epoch)
        chosen = self._order(epoch)[index * self.batch_size : (index + 1) * self.batch_size]
        images = self.image_set.load(chosen, self.size)
        if self.augment:
            # Not `index`: a seed sequence is padded with zeros, so [seed, epoch, 0] is [seed, epoch].
            rng = np.random.default_rng([self.seed, epoch, index + 1])
            images = random_crop(images, rng, self.preprocessing.mean)
            if self.image_set.flip:
                images = random_flip(images, rng)
        return to_input(images, self.preprocessing, self.channels), self.image_set.labels[chosen]

    def _order(self, epoch: int) -> NDArray[np.int64]:
        order = self._orders.get(epoch)
        if order is None:
            order = np.random.default_rng([self.seed, epoch]).permutation(len(self.image_set))
            self._orders.clear()  # an epoch's order is asked for many times, then never again
            self._orders[epoch] = order
        return order

    def iterate(self, start_step: int, stop_step: int) -> Batches:
        """``batch(start_step)`` to ``batch(stop_step - 1)``, prepared a few ahead by one thread.

        Raises:
            DataError: as for :meth:`batch`.
        """
        return _prefetch(self.batch, range(start_step, stop_step))


def evaluation_batches(
    image_set: ImageSet, size: Size, preprocessing: Preprocessing, channels: int, batch_size: int
) -> Batches:
    """The whole set in order; the last batch may be smaller. Prepared a few ahead by one thread.

    Yields:
        float32 of shape (B, channels, H, W) and int64 of shape (B,).

    Raises:
        DataError: a broken image; names the file.
    """

    def batch(start: int) -> Batch:
        chosen = np.arange(start, min(start + batch_size, len(image_set)))
        images = image_set.load(chosen, size)
        return to_input(images, preprocessing, channels), image_set.labels[chosen]

    return _prefetch(batch, range(0, len(image_set), batch_size))


def _prefetch(prepare: Callable[[int], Batch], steps: range) -> Batches:
    """``prepare`` of each step, in order; its exception comes where its batch would have come."""
    waiting: deque[Future[Batch]] = deque()
    pool = ThreadPoolExecutor(1, "onnxcomp-data")
    try:
        for step in steps:
            waiting.append(pool.submit(prepare, step))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)  # waits: no thread outlives its consumer
