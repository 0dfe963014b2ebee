"""Calibration: run the network on real images and look at its activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnxcomp.errors import ModelError
from onnxcomp.model import Model
from onnxcomp.observed import Observed

if TYPE_CHECKING:
    from onnxcomp.data import DataSet, ImageSet


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

    def observe(self, model: Model, tensors: Sequence[str]) -> dict[str, Observed]:
        """What each named tensor is on all images, in one pass.

        Memory is bounded by one batch's activations, whatever the number of images.

        Raises:
            ModelError: an activation is not finite.
        """
        found = {name: Observed() for name in tensors}
        for values in self.run(model, tensors):
            for name, array in values.items():
                try:
                    found[name].add(array)
                except ValueError as error:
                    raise ModelError(
                        f"activation {name} is {error}", where="calibration", fix="check the weights"
                    ) from error
        return found

    def run(self, model: Model, tensors: Sequence[str]) -> Iterator[dict[str, npt.NDArray[np.float32]]]:
        """The named tensors, batch by batch; Q/DQ pairs round in float32."""
        from onnxcomp import runtime

        image = model.image.name
        computed = [name for name in tensors if name != image]
        session = runtime.session(model, outputs=computed or None, threads=self.threads, integer=False)
        for images in self.batches():
            values = session.run(computed, {image: images}) if computed else []
            found = dict(zip(computed, values, strict=True))
            yield {name: images if name == image else found[name] for name in tensors}


def from_data(model: Model, data: DataSet, *, images: int, threads: int) -> ImageCalibration:
    """Calibrate on ``images`` training images, evenly spaced, without augmentation.

    Args:
        model: says the size, the channels and the preprocessing, which must be known.
        images: at most all are used; rounded up to whole batches where the network's batch is fixed.
    """
    from onnxcomp.data import to_input

    preprocessing = model.preprocessing
    assert preprocessing is not None
    channels, height, width = model.image_shape
    size = model.batch or 32
    chosen = chosen_images(data.train, images, model.batch or 1)

    def batches() -> Iterator[npt.NDArray[np.float32]]:
        for start in range(0, len(chosen), size):
            indices = chosen[start : start + size]
            yield to_input(data.train.load(indices, (height, width)), preprocessing, channels)

    return ImageCalibration(batches, threads, data.train.labels[chosen])


def chosen_images(images: ImageSet, count: int, multiple: int) -> npt.NDArray[np.int64]:
    """Indices of ``count`` images, evenly spaced; at most all, rounded up to a multiple.

    In a random order, always the same: folders hold one class after the other, and a batch of one class
    has other statistics than the data.
    """
    count = min(count, len(images))
    count += -count % multiple
    evenly = np.linspace(0, len(images) - 1, count).astype(np.int64)
    return np.random.default_rng(0).permutation(evenly)
