"""Where a quantised layer takes a correction of its output: one value a channel that is added anyway."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.passes.qat.placement.walk import is_standalone, readers


@dataclass(frozen=True, eq=False)
class Site:
    """Where the output of a quantised layer is corrected.

    Attributes:
        node: the layer, or the BatchNormalization or Add behind it.
        axis: of the channels of its output.
        index: its input that takes the correction; an absent one is the last.
    """

    node: gs.Node
    axis: int
    index: int

    @property
    def tensor(self) -> gs.Variable:
        """What is corrected."""
        return self.node.outputs[0]

    def add(self, shift: npt.NDArray[np.float64], taken: set[str]) -> None:
        """Add ``shift`` (C,) to each channel of the output, through a constant of this node's own.

        Args:
            taken: names of the graph's tensors; that of a new constant is added.
        """
        node = self.node
        old = node.inputs[self.index] if self.index < len(node.inputs) else gs.Variable.empty()
        values, name = np.zeros(1), graphs.free_name(f"{self.tensor.name}.bias", taken)
        if not old.is_empty():
            values, name = old.values.reshape(-1).astype(np.float64), old.name
        if len(old.outputs) > 1:
            name = graphs.free_name(old.name, taken)
        if node.op == "Gemm":
            values, node.attrs["beta"] = values * node.attrs.get("beta", 1.0), 1.0
        constant = gs.Constant(name, (values + shift).astype(np.float32))
        if self.index < len(node.inputs):
            node.inputs[self.index] = constant
        else:
            node.inputs.append(constant)


def sites(graph: gs.Graph) -> Iterator[Site]:
    """One for each quantised layer that can take a correction, in graph order.

    The BatchNormalization that is folded into the layer takes it, so that nothing new stands in between.
    Layers whose bias is not one constant value a channel have no site, nor has MatMul without an Add behind
    it: that Add would be a new operator.
    """
    for weight in graphs.weights(graph):
        node = weight.node
        if any(tensor.inputs and tensor.inputs[0].op == "DequantizeLinear" for tensor in node.inputs):
            channels = int(weight.tensor.shape[weight.axis])
            if node.op == "ConvTranspose":
                channels *= int(node.attrs.get("group", 1))
            yield from _of(node, channels)


def _of(node: gs.Node, channels: int) -> Iterator[Site]:
    behind = readers(node.outputs[0])
    alone = behind[0] if len(behind) == 1 else None
    if alone is not None and alone.op == "BatchNormalization" and not is_standalone(alone):
        if _holds(alone.inputs[2], channels):
            yield Site(alone, 1, 2)
    elif node.op != "MatMul":
        if len(node.inputs) < 3 or node.inputs[2].is_empty() or _holds(node.inputs[2], channels):
            yield Site(node, 1, 2)
    elif alone is not None and alone.op == "Add":
        held = [index for index, tensor in enumerate(alone.inputs) if _holds(tensor, channels)]
        yield from (Site(alone, -1, index) for index in held)


def _holds(tensor: gs.Tensor, channels: int) -> bool:
    """Whether a tensor is a constant of one value for each channel."""
    if not isinstance(tensor, gs.Constant):
        return False
    shape = tensor.values.shape
    return bool(shape) and shape[-1] == channels and tensor.values.size == channels
