"""Two masked gradients in a row, of a Relu and of the fake quantisation behind it, become one."""

from __future__ import annotations

import onnx
from onnx import NodeProto, helper

from onnxcomp.training.lowering.base import GradientLowering


def merge_masks(graph: onnx.GraphProto) -> int:
    """``FakeQuantGrad(FakeQuantGrad(g, a), b)`` becomes ``FakeQuantGrad(g, And(a, b))``; returns how many.

    The same bits: a value passes both masks or becomes 0.
    """
    inner = {node.output[0]: node for node in graph.node if node.op_type == "FakeQuantGrad"}
    readers: dict[str, int] = {output.name: 2 for output in graph.output}  # an output must stay
    for node in graph.node:
        for name in node.input:
            readers[name] = readers.get(name, 0) + 1
    merged: dict[str, NodeProto] = {}
    nodes: list[NodeProto] = []
    for node in graph.node:
        first = inner.get(node.input[0]) if node.op_type == "FakeQuantGrad" else None
        if first is None or readers[first.output[0]] != 1 or first.output[0] in merged:
            nodes.append(NodeProto.FromString(node.SerializeToString()))
            continue
        both = f"{node.output[0]}.mask"
        whole = NodeProto.FromString(node.SerializeToString())
        whole.input[:] = [first.input[0], both]
        nodes += [helper.make_node("And", [first.input[1], node.input[1]], [both]), whole]
        merged[first.output[0]] = whole
        merged[whole.output[0]] = whole
    del graph.node[:]
    graph.node.extend(
        node for node in nodes if node.output[0] not in merged or merged[node.output[0]] is node
    )
    return len(nodes) - len(graph.node)


LOWERING = GradientLowering(
    "merged masks", "a Relu's gradient behind that of a fake quantisation", merge_masks
)
