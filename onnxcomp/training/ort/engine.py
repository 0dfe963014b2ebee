"""The engine on ONNX Runtime Training: the gradient graph in a plain inference session.

Every array that goes in or comes out is bound once, by address: a step copies the images and labels
and nothing else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcomp import memory
from onnxcomp.errors import TrainingError
from onnxcomp.model import LABELS, Model
from onnxcomp.training.engine import Hidden, Rewrite, StepResult
from onnxcomp.training.lowering import PROJECTED, lower
from onnxcomp.training.lowering.parameters import Array, aligned
from onnxcomp.training.lowering.views import GRADIENT_SUFFIX
from onnxcomp.training.ort.gradients import differentiate
from onnxcomp.training.ort.session import bind, open_session
from onnxcomp.training.ort.teacher import TeacherSession

LARGE = 2**25  # bytes; below, giving memory back takes longer than it is worth


class OrtEngine:
    """See :class:`onnxcomp.training.engine.Engine`."""

    def __init__(
        self,
        model: Model,
        *,
        batch_size: int,
        threads: int,
        projected: bool = False,
        without: Collection[str] = (),
        parameters: Mapping[str, Array] | None = None,
    ) -> None:
        without = {*without, *(() if projected else (PROJECTED,))}
        training = lower(model, batch_size, without=without, parameters=parameters)
        proto, trained = differentiate(training)
        self.parameters: dict[str, Array] = training.parameters
        self.gradients: dict[str, Array] = {name: aligned(self.parameters[name].shape) for name in trained}
        self.trained = frozenset(trained)
        self.rewrites: Sequence[Rewrite] = training.rewrites
        self._classes = model.num_classes
        self._images = aligned((batch_size, *model.image_shape))
        self._labels = np.zeros(batch_size, np.int64)
        self._logits = aligned((batch_size, self._classes))
        self._losses = {name: aligned(()) for name in training.losses}
        self._session = open_session(proto, threads)
        self._reads_labels = any(entry.name == LABELS for entry in proto.graph.input)
        self._teacher = (
            TeacherSession(training.teacher, self._images, threads) if training.teacher is not None else None
        )
        inputs: dict[str, NDArray[Any]] = {training.image: self._images, LABELS: self._labels}
        inputs.update(self.parameters)
        inputs.update(self._teacher.hidden if self._teacher is not None else {})
        self._inputs = inputs  # bound by address, so they must live as long as the session
        outputs = {training.logits: self._logits, **self._losses}
        outputs.update((name + GRADIENT_SUFFIX, self.gradients[name]) for name in trained)
        self._binding = bind(self._session, inputs, outputs)
        del training, proto
        if sum(array.nbytes for array in inputs.values()) > LARGE:
            memory.release()

    @property
    def hidden(self) -> Hidden:
        """What the last step read of the teacher, by tensor name; the arrays are written over."""
        return {} if self._teacher is None else self._teacher.hidden

    def begin(self, step: int) -> None:
        """See :meth:`onnxcomp.training.engine.Engine.begin`: this one does the same at all steps."""

    def step(
        self, images: NDArray[np.float32], labels: NDArray[np.int64], hidden: Hidden | None = None
    ) -> StepResult:
        """See :meth:`onnxcomp.training.engine.Engine.step`."""
        self._check(images, labels)
        self._images[...] = images
        self._labels[...] = labels
        if self._teacher is not None and hidden is None:
            self._teacher.run()
        elif self._teacher is not None and hidden is not None:
            for name, array in self._teacher.hidden.items():
                array[...] = _fitting(hidden, name, array)
        self._session.run_with_iobinding(self._binding)
        losses = {name: float(value) for name, value in self._losses.items()}
        return StepResult(losses, self._logits.copy())

    def save(self, model: Model) -> None:
        """See :meth:`onnxcomp.training.engine.Engine.save`."""
        for name, constant in model.constants().items():
            if name in self._inputs:
                constant.values = self._inputs[name]

    def _check(self, images: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        if images.shape != self._images.shape or labels.shape != self._labels.shape:
            raise TrainingError(
                f"images {images.shape} and labels {labels.shape} do not fit the engine's "
                f"{self._images.shape} and {self._labels.shape}",
                where="step",
                fix="give full batches",
            )
        # ONNX Runtime reads outside its arrays for a label that is out of range.
        if self._reads_labels and (labels.min() < 0 or labels.max() >= self._classes):
            raise TrainingError(
                f"labels {labels.min()}..{labels.max()} for a network of {self._classes} classes",
                where="step",
                fix="give data with the network's classes",
            )


def _fitting(hidden: Hidden, name: str, bound: NDArray[Any]) -> NDArray[Any]:
    """What is known of the teacher's tensor ``name``, which has the shape of ``bound``."""
    given = hidden.get(name)
    if given is None or given.shape != bound.shape:
        raise TrainingError(
            f"the teacher's {name} is {'missing' if given is None else given.shape}, not {bound.shape}",
            where="step",
            fix="give what is read of the teacher for the images of the batch",
        )
    return given
