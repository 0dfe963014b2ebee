"""Calibration: run the network on real images and look at its activations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnxcomp.errors import DataError, ModelError
from onnxcomp.model import Model
from onnxcomp.observed import Observed

if TYPE_CHECKING:
    from onnxcomp.data import DataSet, ImageSet

BATCH = 64
"""Images in a run, where the network's batch is not fixed."""
MEMORY = 2**29
"""Bytes of the tensors that one run computes; at most, unless a single image has more."""


@dataclass(frozen=True)
class ImageCalibration:
    """See :class:`onnxcomp.passes.base.Calibration`.

    Attributes:
        batches: makes the batches anew, each float32 (B, C, H, W) as the network takes them.
        threads: of ONNX Runtime.
        labels: int64 (N,); none where nobody asks for them.
    """

    batches: Callable[[], Iterable[npt.NDArray[np.float32]]]
    threads: int
    labels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def observe(self, model: Model, tensors: Sequence[str], *, histogram: bool = True) -> dict[str, Observed]:
        """What each named tensor is on all images, in one pass.

        Memory is bounded by one run's activations, see :data:`MEMORY`, whatever the number of images.

        Raises:
            DataError: there is no image, or the network's input is not finite.
            ModelError: an activation is not finite.
        """
        found = {name: Observed(histogram=histogram) for name in tensors}
        seen = 0
        for values, whole in self._parts(model, tensors):
            seen += 1
            for name, array in values.items():
                try:
                    found[name].add(array, ends=whole)
                except ValueError as error:
                    raise ModelError(
                        f"activation {name} is {error}", where="calibration", fix="check the weights"
                    ) from error
        if not seen:
            raise DataError("holds no image to calibrate on", where="calibration", fix="give training images")
        return found

    def run(self, model: Model, tensors: Sequence[str]) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
        """The named tensors, batch by batch; Q/DQ pairs round in float32.

        A batch whose tensors take more than :data:`MEMORY` comes in parts, where the network's batch is
        not fixed.

        Raises:
            DataError: the images are not what the network takes, or not finite.
        """
        for values, _ in self._parts(model, tensors):
            yield values

    def _parts(
        self, model: Model, tensors: Sequence[str]
    ) -> Iterator[tuple[dict[str, npt.NDArray[np.float32]], bool]]:
        """:meth:`run`, and whether a part is the last of its batch."""
        from onnxcomp import runtime

        image = model.image.name
        computed = [name for name in tensors if name != image]
        session = runtime.session(model, outputs=computed or None, threads=self.threads, integer=False)
        most = model.batch or max(1, MEMORY // _bytes_of_one(model, tensors))
        for batch in self.batches():
            _check(batch, model)
            for start in range(0, len(batch), most):
                images = batch[start : start + most]
                values = session.run(computed, {image: images}) if computed else []
                found = dict(zip(computed, values, strict=True))
                whole = start + most >= len(batch)
                yield {name: images if name == image else found[name] for name in tensors}, whole


def _bytes_of_one(model: Model, tensors: Sequence[str]) -> int:
    """Of the float32 values of the named tensors for one image, as far as their shapes are known."""
    known = model.graph.tensors()
    shapes = [known[name].shape or () for name in tensors if name in known]
    sizes = (math.prod(size for size in shape[1:] if isinstance(size, int)) for shape in shapes)
    return 4 * max(1, sum(sizes))


def _check(images: npt.NDArray[np.float32], model: Model) -> None:
    if images.dtype != np.float32 or images.shape[1:] != model.image_shape:
        raise DataError(
            f"images are {images.dtype} of shape {images.shape}, the network {model.graph.name} takes float32"
            f" (N, {', '.join(map(str, model.image_shape))})",
            where="calibration",
            fix="give images of its size and channels",
        )
    # The smallest is NaN where any value is.
    if not (np.isfinite(images.min(initial=0)) and np.isfinite(images.max(initial=0))):
        raise DataError(
            f"the images hold values that are not finite (input {model.image.name})",
            where="calibration",
            fix="check the data and the preprocessing",
        )


def from_data(model: Model, data: DataSet, *, images: int, threads: int) -> ImageCalibration:
    """Calibrate on ``images`` training images, evenly spaced, without augmentation.

    Args:
        model: says the size, the channels and the preprocessing, which must be known.
        images: at most all are used; rounded up to whole batches where the network's batch is fixed.

    The batches raise :class:`DataError` for a broken image, or for images in 0..1.
    """
    from onnxcomp.data import to_input

    preprocessing = model.preprocessing
    assert preprocessing is not None
    channels, height, width = model.image_shape
    size = model.batch or BATCH
    chosen = chosen_images(data.train, images, model.batch or 1)

    def batches() -> Iterator[npt.NDArray[np.float32]]:
        for start in range(0, len(chosen), size):
            indices = chosen[start : start + size]
            images = data.train.load(indices, (height, width))
            if not start and images.max(initial=0) == 1:
                raise DataError(
                    "the images hold nothing but 0 and 1, where 0 to 255 is expected",
                    where=f"data {data.name}",
                    fix="multiply them by 255",
                )
            yield to_input(images, preprocessing, channels)

    labels = data.train.labels[chosen if data.train.labelled else chosen[:0]]
    return ImageCalibration(batches, threads, labels)


def chosen_images(images: ImageSet, count: int, multiple: int) -> npt.NDArray[np.int64]:
    """Indices of ``count`` images, evenly spaced; at most all, rounded up to a multiple.

    In a random order, always the same: folders hold one class after the other, and a batch of one class
    has other statistics than the data.
    """
    count = min(count, len(images))
    count += -count % multiple
    evenly = np.linspace(0, len(images) - 1, count).astype(np.int64)
    return np.random.default_rng(0).permutation(evenly)
