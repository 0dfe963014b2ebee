"""A quantised network and the same one in float in one graph, on the same images.

So both are compared batch by batch in one pass, and what is found at one layer can take effect on all that
follow within the same pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.errors import PassError
from onnxcomp.model import Model
from onnxcomp.passes.base import Calibration
from onnxcomp.student import student

PREFIX = "reference/"
_OWN = "probe/"
_AXES_ARE_INPUTS = 18


def beside(model: Model, reference: Model) -> Model:
    """The student of ``model``, and that of ``reference`` on the same image, its names behind :data:`PREFIX`.

    Raises:
        PassError: the two take different images.
    """
    result, other = student(model), student(reference)
    if result.image_shape != other.image_shape or result.image.name != other.image.name:
        raise PassError(
            f"takes {other.image.name} {other.image_shape}, the quantised one {result.image.name} "
            f"{result.image_shape}",
            where="the reference network",
            fix="give the network before Q/DQ was inserted",
        )
    known = result.constants()
    for tensor in other.graph.tensors().values():
        if tensor.name == result.image.name:
            graphs.rewire(tensor, result.image, list(tensor.outputs))
            continue
        twin = known.get(tensor.name)
        if isinstance(tensor, gs.Constant) and twin is not None and twin.values is tensor.values:
            graphs.rewire(tensor, twin, list(tensor.outputs))
        else:
            tensor.name = PREFIX + tensor.name
    for node in other.graph.nodes:
        node.name = PREFIX + node.name
    result.graph.nodes += other.graph.nodes
    return result


class Probe:
    """Writes statistics into a network; all that it adds has names of its own."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._tensors = model.graph.tensors()
        self._numbers = itertools.count()

    def tensor(self, name: str) -> gs.Tensor:
        return self._tensors[name]

    def has(self, name: str) -> bool:
        return name in self._tensors

    def node(self, op: str, inputs: Sequence[gs.Tensor], **attributes: object) -> gs.Variable:
        """The output of a new float32 node."""
        name = self._name(op)
        output = gs.Variable(name, np.float32)
        self.model.graph.nodes.append(gs.Node(op, name, attributes, list(inputs), [output]))
        return output

    def _name(self, what: str) -> str:
        return f"{_OWN}{what}_{next(self._numbers)}"

    def scalar(self, value: float) -> gs.Constant:
        return gs.Constant(self._name("constant"), np.array(value, np.float32))

    def mean(self, tensor: gs.Tensor, rank: int, axis: int, *, keep: bool) -> gs.Variable:
        """The mean along all axes but ``axis``: (1, C, 1, ...) or (C,)."""
        axes = [other for other in range(rank) if other != axis % rank]
        if self.model.graph.opset < _AXES_ARE_INPUTS:
            return self.node("ReduceMean", [tensor], axes=axes, keepdims=int(keep))
        constant = gs.Constant(self._name("axes"), np.array(axes, np.int64))
        return self.node("ReduceMean", [tensor, constant], keepdims=int(keep))

    def replace(self, old: gs.Tensor, new: gs.Variable) -> None:
        """Let all of the network read ``new`` instead of ``old``; what this object added stays."""
        graphs.rewire(old, new, [node for node in old.outputs if not node.name.startswith(_OWN)])


def averages(
    model: Model, calibration: Calibration, outputs: Mapping[str, str]
) -> dict[str, npt.NDArray[np.float64]]:
    """Means over all images of per-batch tensors, in one pass: float64, flat.

    Args:
        outputs: names of tensors that are means over a batch; the result has their keys.
    """
    if not outputs:
        return {}
    images, count = model.image.name, 0
    sums = {key: np.zeros(1) for key in outputs}
    for values in calibration.run(model, [images, *outputs.values()]):
        size = len(values[images])
        count += size
        for key, name in outputs.items():
            sums[key] = sums[key] + size * values[name].reshape(-1).astype(np.float64)
    return {key: total / count for key, total in sums.items()}
