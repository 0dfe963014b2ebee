"""From the compression form to the training form: each lowering rewrites one thing, exactly."""

from __future__ import annotations

from onnxcomp.model import Model, Role
from onnxcomp.training.lowering.average_pool import lower_average_pool
from onnxcomp.training.lowering.batch_norm import lower_batch_norm
from onnxcomp.training.lowering.channel_major import lower_channel_major
from onnxcomp.training.lowering.fake_quant import lower_fake_quant
from onnxcomp.training.lowering.padding import lower_padding
from onnxcomp.training.lowering.parameters import Training, separate
from onnxcomp.training.lowering.simplify import lower_loss, lower_simple_ops
from onnxcomp.training.lowering.static_batch import fix_batch

__all__ = ["Training", "lower"]


def lower(model: Model, batch_size: int, *, channel_major: bool = True) -> Training:
    """The training form of ``model`` for a fixed batch size; ``model`` is not changed.

    Args:
        channel_major: use the faster layout where it pays; the numbers differ by rounding only.

    Raises:
        TrainingError: the model has no loss, or nothing to train.
    """
    training = separate(model)
    graph = training.graph
    fix_batch(graph, training.image, batch_size)
    lower_padding(graph)
    lower_simple_ops(graph)
    lower_loss(graph)
    lower_fake_quant(graph, set(training.names(Role.TRAINABLE)))
    lower_batch_norm(graph, set(training.names(Role.STATISTIC)))
    if channel_major:
        lower_channel_major(graph)
    lower_average_pool(graph)
    return training
