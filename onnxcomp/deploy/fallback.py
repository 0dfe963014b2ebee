"""A layer that TensorRT has no INT8 kernel for goes back to float: the Q/DQ around its nodes are removed.

"SM 7.5 and earlier devices may not have INT8 implementations for all layers": the builder "could not find any
implementation", and the Q/DQ nodes "which quantize the failing layers" are to be removed (Developer Guide
8.5, 7.4.2 "Q/DQ Limitations"). A Xavier is SM 7.2.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxcomp import graphs
from onnxcomp.deploy.qdq import dequantize, quantize

PAIR = ("QuantizeLinear", "DequantizeLinear")


def dequantize_around(graph: gs.Graph, names: Collection[str], *, outputs: bool = False) -> tuple[str, ...]:
    """Let the nodes called ``names`` read float tensors, in place.

    What they compute changes by the rounding of the activations they read; weights keep the values that their
    integers stand for. Other readers of the same tensors go on reading them quantised.

    Args:
        graph: deployable form, with Q -> DQ around activations, and around weights or DQ alone behind INT8.
        names: of nodes; Q and DQ among them do not count.
        outputs: also let the readers of what the nodes compute read it unquantised.

    Returns:
        Names of the Q and DQ nodes that are gone, in the order of the graph; empty where there were none.
    """
    nodes = [node for node in graph.nodes if node.name in names and node.op not in PAIR]
    before = [node.name for node in graph.nodes if node.op in PAIR]
    for node in nodes:
        for index, tensor in enumerate(node.inputs):
            node.inputs[index] = _unquantised(tensor)
        for tensor in node.outputs if outputs else ():
            _free_readers(tensor)
    graph.cleanup(remove_unused_graph_inputs=False).toposort()
    left = {node.name for node in graph.nodes}
    return tuple(name for name in before if name not in left)


def _unquantised(tensor: gs.Tensor) -> gs.Tensor:
    """What stands behind a DequantizeLinear: the float source of its pair, or the values of its integers."""
    if isinstance(tensor, gs.Constant) or not tensor.inputs or tensor.inputs[0].op != "DequantizeLinear":
        return tensor
    node = tensor.inputs[0]
    source = node.inputs[0]
    if not isinstance(source, gs.Constant):
        float_source = source.inputs[0].inputs[0]
        if not isinstance(float_source, gs.Constant):
            return float_source
    return gs.Constant(f"{tensor.name}.float", _weight(node))


def _weight(node: gs.Node) -> NDArray[np.float32]:
    """The values of a DequantizeLinear of constants."""
    source, scale = node.inputs[0], node.inputs[1].values
    axis = int(node.attrs.get("axis", 1))
    if isinstance(source, gs.Constant):
        return dequantize(source.values, scale, axis)
    return dequantize(quantize(source.inputs[0].inputs[0].values, scale, axis), scale, axis)


def _free_readers(tensor: gs.Tensor) -> None:
    for pair in [node for node in tensor.outputs if node.op == "QuantizeLinear"]:
        for node in list(pair.outputs[0].outputs):
            graphs.rewire(node.outputs[0], tensor, list(node.outputs[0].outputs))
