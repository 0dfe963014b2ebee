"""What the training loop needs of an engine: parameters and gradients as arrays, and one step.

The interface is apart from its implementation because ONNX Runtime Training ends at version 1.19.2.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxcomp.model import Model

Hidden = Mapping[str, NDArray[Any]]
"""What is read of a teacher, by tensor name: its rows belong to the images of a batch."""


@dataclass(frozen=True)
class StepResult:
    """What one step computed.

    Attributes:
        losses: ``loss``, the weighted total, then each term unweighted, by output name.
        logits: float32 of shape (batch, classes), with the batch's statistics in the student's
            BatchNormalization.
    """

    losses: dict[str, float]
    logits: NDArray[np.float32]


@dataclass(frozen=True)
class Rewrite:
    """What the engine changed in the graph to train it, or to train it faster.

    Attributes:
        name: of the rewrite.
        when: which nodes it takes and where it stays off, in one line.
        nodes: how many nodes of this network it took.
    """

    name: str
    when: str
    nodes: int


class Engine(Protocol):
    """Computes losses and gradients; the optimiser, the schedule and the data are the caller's."""

    @property
    def parameters(self) -> Mapping[str, NDArray[np.float32]]:
        """Every trainable, mask, scale and statistic by name: writable arrays that the next step
        reads. Change their elements in place. A step updates the statistics."""

    @property
    def gradients(self) -> Mapping[str, NDArray[np.float32]]:
        """Gradient of the total loss of the last step, by the names of the trainables that it depends
        on; zeros before the first. The arrays are written over by the next step."""

    @property
    def trained(self) -> frozenset[str]:
        """Names of those of :attr:`gradients` that the loss of the present step depends on."""

    @property
    def hidden(self) -> Hidden:
        """What the last step read of the teacher; written over by the next. Empty without a teacher."""

    @property
    def rewrites(self) -> Sequence[Rewrite]:
        """How the compression form became the graph that is run, in order."""

    def begin(self, step: int) -> None:
        """Prepare for step ``step`` of the training, whose graph may be another than before.

        Arrays of :attr:`gradients` may be others from then on, :attr:`parameters` are the same.
        """

    def step(
        self, images: NDArray[np.float32], labels: NDArray[np.int64], hidden: Hidden | None = None
    ) -> StepResult:
        """One forward and backward pass.

        Args:
            images: float32 (batch, C, H, W), the batch size given to :func:`build`.
            labels: int64 (batch,), each in 0..classes-1 where a loss reads them.
            hidden: what the network reads of its teacher; without it the teacher is run.

        Raises:
            TrainingError: a shape or a label does not fit the network, or ``hidden`` lacks a tensor.
        """

    def save(self, model: Model) -> None:
        """Give ``model`` the trained values: constants of which the engine has an array become that
        array, nothing is copied, and later steps change them."""


def build(
    model: Model,
    *,
    batch_size: int,
    threads: int,
    projected: bool = False,
    without: Collection[str] = (),
    parameters: Mapping[str, NDArray[np.float32]] | None = None,
) -> Engine:
    """An engine for ``model`` in compression form, with copies of its parameters.

    For the same inputs, parameters and number of threads, a step gives the same bits.

    Args:
        batch_size: images in a step, at least 1; at least 2 where a BatchNormalization would
            otherwise see one value per channel.
        threads: of ONNX Runtime inside an operator.
        projected: the caller promises that at each step weights are exactly 0 where their mask is,
            and within the range of their scales; neither is then computed again.
        without: names of rewrites that stay off, for measuring what they bring.
        parameters: arrays, aligned as copies are, that it binds in their place, by name.

    Raises:
        TrainingError: the model has no loss or nothing to train, or an operator on the way from a
            trainable tensor to the loss has no gradient; names the node.
        MissingPackageError: ONNX Runtime Training is not installed.
    """
    from onnxcomp.training.ort.engine import OrtEngine

    return OrtEngine(
        model,
        batch_size=batch_size,
        threads=threads,
        projected=projected,
        without=without,
        parameters=parameters,
    )
