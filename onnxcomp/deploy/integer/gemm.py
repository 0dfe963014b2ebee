"""MatMul and the Add of its bias as one Gemm, which has an integer kernel with a bias.

ONNX Runtime makes a float Gemm of the two before it looks for Q/DQ.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp.deploy.integer.pairs import dequantizer


def use_gemm(graph: gs.Graph) -> int:
    """Rewrite in place where both inputs of the product are quantized and matrices; returns how many."""
    count = 0
    for node in list(graph.nodes):
        add = _bias_node(graph, node)
        if add is not None:
            _merge(node, add)
            count += 1
    graph.cleanup(remove_unused_graph_inputs=False)
    return count


def _bias_node(graph: gs.Graph, node: gs.Node) -> gs.Node | None:
    """The Add of a constant (N,) that alone reads the product ``node``."""
    if node.op != "MatMul" or any(dequantizer(tensor) is None for tensor in node.inputs):
        return None
    if any(len(tensor.shape or ()) != 2 for tensor in node.inputs):
        return None
    output = node.outputs[0]
    if len(output.outputs) != 1 or any(output is one for one in graph.outputs):
        return None
    add = output.outputs[0]
    if add.op != "Add" or add.inputs[0] is add.inputs[1]:
        return None
    bias = _other(add, output)
    fits = (
        isinstance(bias, gs.Constant)
        and bias.values.ndim in (1, 2)
        and bias.values.size == bias.values.shape[-1]
    )
    return add if fits and bias.values.size in (1, node.inputs[1].shape[1]) else None


def _merge(node: gs.Node, add: gs.Node) -> None:
    bias = _other(add, node.outputs[0])
    node.op = "Gemm"
    node.inputs = [*node.inputs, gs.Constant(bias.name, bias.values.reshape(-1))]
    node.outputs = list(add.outputs)
    add.inputs.clear()
    add.outputs.clear()


def _other(add: gs.Node, tensor: gs.Tensor) -> gs.Tensor:
    return add.inputs[1] if add.inputs[0] is tensor else add.inputs[0]
