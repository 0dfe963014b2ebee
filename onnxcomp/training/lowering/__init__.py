"""From the compression form to the training form: each lowering rewrites one thing, exactly."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

import onnx
import onnx_graphsurgeon as gs

from onnxcomp.model import Model
from onnxcomp.training.engine import Rewrite
from onnxcomp.training.lowering import (
    average_pool,
    batch_norm,
    channel_major,
    fake_quant,
    integer_kernels,
    learned_scales,
    merge_masks,
    padding,
    projected,
    relu_gradient,
    shapes,
    small_conv,
    static_batch,
    views,
)
from onnxcomp.training.lowering.base import GradientLowering, Lowering
from onnxcomp.training.lowering.operators import LATE, OPERATORS
from onnxcomp.training.lowering.parameters import Array, Training, separate
from onnxcomp.training.lowering.teacher import cut

__all__ = ["BEFORE", "BEHIND", "PROJECTED", "Training", "lower", "lower_gradient", "lower_teacher"]

BEFORE: tuple[Lowering, ...] = (
    static_batch.LOWERING,
    shapes.LOWERING,
    padding.LOWERING,
    *OPERATORS,
    fake_quant.LOWERING,
    batch_norm.LOWERING,
    channel_major.LOWERING,
    small_conv.LOWERING,
    average_pool.LOWERING,
    learned_scales.LOWERING,
    *LATE,
)
"""Of the training form, in the order in which they run."""

BEHIND: tuple[GradientLowering, ...] = (
    relu_gradient.LOWERING,
    integer_kernels.LOWERING,
    projected.LOWERING,
    learned_scales.GRADIENTS,
    merge_masks.LOWERING,
    views.LOWERING,
)
"""Of the gradient graph, in the order in which they run."""

PROJECTED = projected.LOWERING.name
"""Right only for a caller that keeps its promise about the weights; see :func:`..engine.build`."""

_L = TypeVar("_L", Lowering, GradientLowering)


def lower(
    model: Model,
    batch_size: int,
    *,
    without: Collection[str] = (),
    parameters: Mapping[str, Array] | None = None,
) -> Training:
    """The training form of ``model`` for a fixed batch size; ``model`` is not changed.

    Args:
        without: names of lowerings that stay off; the numbers differ by rounding only, if they can
            be computed at all.
        parameters: arrays that take the place of copies.

    Raises:
        TrainingError: the model has no loss, or nothing to train.
    """
    training = separate(model, parameters)
    training.batch_size, training.without = batch_size, frozenset(without)
    for lowering in _chosen(BEFORE, without):
        training.rewrites.append(lowering.run(training))
    if training.teacher is not None:
        _quicken(training.teacher, training.image, without)
    return training


def lower_teacher(model: Model, batch_size: int) -> gs.Graph | None:
    """From images to what ``model`` reads of its teacher, for a fixed batch size; None without a teacher."""
    teacher = cut(model.graph.copy(), model.image.name)
    if teacher is not None:
        static_batch.fix_teacher(teacher, model.image.name, batch_size)
        _quicken(teacher, model.image.name, ())
    return teacher


def _quicken(teacher: gs.Graph, image: str, without: Collection[str]) -> None:
    """The layout that helps a training step helps its forward part alone too."""
    alone = Training(teacher, image, "", (), without=frozenset(without))
    for lowering in _chosen((padding.LOWERING, channel_major.LOWERING, small_conv.LOWERING), without):
        lowering.run(alone)


def lower_gradient(graph: onnx.GraphProto, *, without: Collection[str] = ()) -> list[Rewrite]:
    """Rewrite a gradient graph in place.

    Args:
        without: as for :func:`lower`.
    """
    return [lowering.run(graph) for lowering in _chosen(BEHIND, without)]


def _chosen(lowerings: Sequence[_L], without: Collection[str]) -> list[_L]:
    return [lowering for lowering in lowerings if lowering.name not in without]
