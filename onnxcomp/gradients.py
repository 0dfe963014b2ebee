"""Gradients of the loss on labelled training images, for criteria that ask what a weight is for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnxcomp import graphs, losses
from onnxcomp.calibration import chosen_images
from onnxcomp.errors import ModelError
from onnxcomp.model import Model, Role
from onnxcomp.student import student
from onnxcomp.training import engine

if TYPE_CHECKING:
    from onnxcomp.data import DataSet

Array = npt.NDArray[np.float32]
Batch = tuple[Array, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class ImageGradients:
    """Differentiates a network over batches of labelled images.

    Attributes:
        batches: makes the batches anew: float32 (``batch_size``, C, H, W) as the network takes them, and
            int64 labels (``batch_size``,).
        batch_size: with 1 the mean square of the gradients is the diagonal of the empirical Fisher
            information; gradients of larger batches are means, whose squares are smaller.
        threads: of ONNX Runtime.
    """

    batches: Callable[[], Iterable[Batch]]
    batch_size: int
    threads: int

    def per_batch(self, model: Model, names: Sequence[str]) -> Iterator[Mapping[str, Array]]:
        """See :class:`onnxcomp.passes.base.Gradients`.

        Args:
            model: any form but deployable; masks stay, and Q/DQ pairs pass gradients straight through.
            names: weights before their masks and Q/DQ. One that the logits do not depend on has a
                gradient of zeros.

        Raises:
            ModelError: a loss or a gradient is not a finite number.
            TrainingError: an operator behind one of the weights has no gradient.
            MissingPackageError: ONNX Runtime Training is not installed.
        """
        trainee = _trainee(model, names)
        built = engine.build(trainee, batch_size=self.batch_size, threads=self.threads)
        found = {name: built.gradients.get(name, built.parameters[name] * 0) for name in names}
        for images, labels in self.batches():
            loss = built.step(images, labels).losses["loss"]
            _check(loss, found)
            yield found


def from_data(
    model: Model, data: DataSet, *, images: int, threads: int, batch_size: int = 1
) -> ImageGradients:
    """Of ``images`` training images, chosen as :func:`onnxcomp.calibration.from_data` does.

    Args:
        model: says the size, the channels and the preprocessing, which must be known.
        images: rounded up to whole batches.
        batch_size: see :class:`ImageGradients`.
    """
    from onnxcomp.data import to_input

    preprocessing = model.preprocessing
    assert preprocessing is not None
    channels, height, width = model.image_shape
    chosen = chosen_images(data.train, images, batch_size)

    def batches() -> Iterator[Batch]:
        data.require_labels("the gradient of the loss", "choose a criterion that takes no gradient")
        for start in range(0, len(chosen), batch_size):
            indices = chosen[start : start + batch_size]
            pixels = data.train.load(indices, (height, width))
            yield to_input(pixels, preprocessing, channels), data.train.labels[indices]

    return ImageGradients(batches, batch_size, threads)


def _trainee(model: Model, names: Sequence[str]) -> Model:
    """The student with the task loss, of which all weights are trainable.

    The named ones alone would be enough, but ONNX Runtime's gradient of a pooling between one that is
    not and those that are is a graph in which a name comes twice. Its running statistics lose their
    role: BatchNormalization is differentiated as it is in inference.
    """
    trainee = student(model)
    losses.add_total(trainee)
    kept = {name: role for name, role in model.roles.items() if role in (Role.MASK, Role.SCALE)}
    every = [weight.name for weight in graphs.weights(trainee.graph)]
    trainee.roles = kept | dict.fromkeys([*every, *names], Role.TRAINABLE)
    return trainee


def _check(loss: float, gradients: Mapping[str, Array]) -> None:
    if not np.isfinite(loss):
        raise ModelError(f"the loss is {loss}", where="gradients", fix="check the weights and the data")
    for name, gradient in gradients.items():
        flat = gradient.reshape(-1)
        with np.errstate(all="ignore"):  # squares may overflow where no value is infinite
            square = flat @ flat  # quicker than to look at each value
        if not np.isfinite(square) and not np.isfinite(flat).all():
            raise ModelError(
                f"the gradient of {name} is not finite", where="gradients", fix="check the weights"
            )
