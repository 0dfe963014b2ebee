"""Calibration: run the network on real images and collect histograms of its activations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnxcomp.errors import ModelError
from onnxcomp.histogram import Histogram
from onnxcomp.model import Model

if TYPE_CHECKING:
    from onnxcomp.data import DataSet, ImageSet


@dataclass(frozen=True)
class ImageCalibration:
    """Observes activations over batches of images.

    Attributes:
        batches: makes the batches anew, each float32 (B, C, H, W) as the network takes them.
        threads: of ONNX Runtime.
    """

    batches: Callable[[], Iterable[npt.NDArray[np.float32]]]
    threads: int

    def observe(self, model: Model, tensors: Sequence[str]) -> dict[str, Histogram]:
        """Histogram of the absolute values of each named tensor, in one pass over the images.

        Memory is bounded by one batch's activations, whatever the number of images.

        Raises:
            ModelError: an activation is not finite.
        """
        from onnxcomp import runtime

        histograms = {name: Histogram() for name in tensors}
        computed = [name for name in tensors if name != model.image.name]
        session = runtime.session(model, outputs=computed or None, threads=self.threads)
        for images in self.batches():
            values = session.run(computed, {model.image.name: images}) if computed else []
            for name, array in zip([*computed, model.image.name], [*values, images], strict=True):
                if name in histograms:
                    try:
                        histograms[name].add(array)
                    except ValueError as error:
                        raise ModelError(
                            f"activation {name} is {error}", where="calibration", fix="check the weights"
                        ) from error
        return histograms


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

    return ImageCalibration(batches, threads)


def chosen_images(images: ImageSet, count: int, multiple: int) -> npt.NDArray[np.int64]:
    """Indices of ``count`` images, evenly spaced; at most all, rounded up to a multiple."""
    count = min(count, len(images))
    count += -count % multiple
    return np.linspace(0, len(images) - 1, count).astype(np.int64)
