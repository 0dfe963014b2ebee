"""The training form's parameters: constants with a role become inputs fed from numpy arrays.

The result is a skeleton of the compression form without any large array, so that every later step is
quick however large the network is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxcomp.errors import TrainingError
from onnxcomp.model import LOSS, Model, Role
from onnxcomp.training import quantization
from onnxcomp.training.blocks import line_aligned
from onnxcomp.training.engine import Rewrite
from onnxcomp.training.lowering.channel_ops import Dims
from onnxcomp.training.lowering.teacher import cut

Array = NDArray[np.float32]


@dataclass
class Training:
    """The training form: a graph, and the arrays that belong to its inputs.

    Attributes:
        graph: every parameter is an input, and all that is read of the teacher.
        parameters: trainables, masks, scales and statistics by name: writable, aligned copies.
        roles: role of each parameter.
        teacher: from the image to what ``graph`` reads of it; None where that is nothing.
        image: name of the image input; its shape in ``graph`` is static.
        logits: name of the logits output.
        losses: names of the scalar outputs, the total first.
        levels: quantised weights are the integers ``-levels..levels``.
        batch_size: images in a step.
        small_convs: input and output sizes of convolutions that the channel-major layout leaves to
            their own lowering, by node name.
        without: names of lowerings that stay off.
        rewrites: what the lowerings did.
    """

    graph: gs.Graph
    image: str
    logits: str
    losses: tuple[str, ...]
    parameters: dict[str, Array] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    teacher: gs.Graph | None = None
    levels: int = 127
    batch_size: int = 1
    small_convs: dict[str, tuple[Dims, Dims]] = field(default_factory=dict)
    without: frozenset[str] = frozenset()
    rewrites: list[Rewrite] = field(default_factory=list)

    def names(self, *roles: Role) -> list[str]:
        """Parameters of these roles, in graph order."""
        return [name for name, value in self.roles.items() if value in roles]


def aligned(shape: tuple[int, ...]) -> Array:
    """A float32 array of zeros that begins at a cache line: the order of Eigen's sums depends on it."""
    return line_aligned(int(np.prod(shape, dtype=np.int64))).reshape(shape)


def _copy(values: Array) -> Array:
    array = aligned(values.shape)
    array[...] = values
    return array


def parameters_of(model: Model) -> dict[str, Array]:
    """Copies of what training moves or reads anew at each step, by name."""
    return {
        name: _copy(tensor.values)
        for name, tensor in model.graph.tensors().items()
        if isinstance(tensor, gs.Constant)
        and tensor.dtype == np.float32
        and model.roles.get(name, Role.TEACHER) is not Role.TEACHER
    }


def separate(model: Model, parameters: Mapping[str, Array] | None = None) -> Training:
    """Copy the graph of ``model`` and turn its parameters into inputs; ``model`` is not changed.

    Args:
        parameters: arrays that take the place of copies, also for constants that have no role.

    Raises:
        TrainingError: the model has no loss, or nothing to train.
    """
    outputs = {tensor.name for tensor in model.graph.outputs}
    if LOSS not in outputs:
        raise TrainingError(
            f"the model is in {model.form.value} form and has no loss to train on",
            where="train",
            fix="run `onnxcomp apply` on it first",
        )
    graph = model.graph.copy()
    terms = tuple(t.name for t in model.graph.outputs if t.name in model.losses)
    levels = quantization.levels(model)
    training = Training(graph, model.image.name, model.logits.name, (LOSS, *terms), levels=levels)
    training.teacher = cut(graph, training.image)
    for name, tensor in graph.tensors().items():
        role, given = model.roles.get(name), (parameters or {}).get(name)
        if not isinstance(tensor, gs.Constant) or tensor.dtype != np.float32:
            continue
        if role is not None or given is not None:
            training.parameters[name] = _copy(tensor.values) if given is None else given
            if role is not None:
                training.roles[name] = role
        else:
            continue
        variable = tensor.to_variable(np.float32, list(tensor.values.shape))
        variable.type = "tensor_type"  # which to_variable forgets
        graph.inputs.append(variable)
    if not training.names(Role.TRAINABLE):
        raise TrainingError(
            "no tensor has the role `trainable`", where="train", fix="run `onnxcomp apply` on it first"
        )
    return training
