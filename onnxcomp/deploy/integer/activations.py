"""Relu and Clip between an operator and its pair: part of quantization, or a Clip of integers.

QuantizeLinear saturates. So ``q(relu(x)) = q(x)`` where the zero point is the smallest integer, and
``q(clip(x)) = q(x)`` where the bounds lie at or beyond the ends of the pair's range. Elsewhere
``q(clip(x)) = clip(q(x))`` with bounds in integers, because rounding keeps order. All of it is exact, and
leaves nothing between the operator and QuantizeLinear, as ONNX Runtime's integer kernels want it.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.deploy.integer.pairs import Encoding, encoding, quantizers


def drop_activations(graph: gs.Graph) -> int:
    """Take each Relu and Clip before a pair away; returns how many."""
    taken = set(graph.tensors())
    count = 0
    for node in list(graph.nodes):
        bounds = _bounds(node)
        readers = quantizers(graph, node.outputs[0]) if bounds else []
        if bounds is None or not readers:
            continue
        found = encoding(readers[0])
        assert found is not None
        low, high = (found.integer(bound) for bound in bounds)
        for reader in readers:
            reader.inputs[0] = node.inputs[0]
            if (low, high) != (found.low, found.high):
                _clip(graph, reader, found, (low, high), taken)
        node.inputs.clear()
        node.outputs.clear()
        count += 1
    graph.cleanup(remove_unused_graph_inputs=False).toposort()
    return count


def _bounds(node: gs.Node) -> tuple[np.float32, np.float32] | None:
    """Smallest and largest value that ``node`` lets through."""
    low, high = np.float32(-np.inf), np.float32(np.inf)
    if node.op == "Relu":
        return np.float32(0), high
    if node.op != "Clip":
        return None
    found = []
    for index, none in ((1, low), (2, high)):
        tensor = node.inputs[index] if len(node.inputs) > index else None
        if tensor is None or tensor.is_empty():
            found.append(none)
        elif isinstance(tensor, gs.Constant):
            found.append(np.float32(tensor.values.reshape(())))
        else:
            return None
    return found[0], found[1]


def _clip(
    graph: gs.Graph, quantize: gs.Node, found: Encoding, bounds: tuple[int, int], taken: set[str]
) -> None:
    """Put a Clip of integers behind ``quantize``."""
    output = quantize.outputs[0]
    raw = gs.Variable(graphs.free_name(f"{output.name}.unclipped", taken), found.dtype, output.shape)
    limits = [
        gs.Constant(graphs.free_name(f"{output.name}.{name}", taken), np.array(value, found.dtype))
        for name, value in zip(("low", "high"), bounds, strict=True)
    ]
    quantize.outputs = [raw]
    name = quantize.name.removesuffix("/quantize") + "/clip"
    graph.nodes.append(gs.Node("Clip", name, {}, [raw, *limits], [output]))
