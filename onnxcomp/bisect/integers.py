"""Tensors that a network holds in integers, shown in float where a reference has them."""

from __future__ import annotations

from collections.abc import Collection

import onnx_graphsurgeon as gs

SUFFIX = ".quantized"
"""What onnxcomp's passes call the integers of a tensor."""


def show(graph: gs.Graph, wanted: Collection[str]) -> None:
    """Give the tensors of ``graph`` that are there in integers alone a float tensor of their own name.

    What an operator computes in integers (a Concat of quantised tensors, say) and a DequantizeLinear reads
    goes through a pair: dequantised, then quantised again by the same scale and zero point, which changes no
    value.

    Args:
        graph: changed in place.
        wanted: names of float tensors; others are left in integers.
    """
    there = set(graph.tensors())
    for node in list(graph.nodes):
        for integers in node.outputs[:1]:
            name = integers.name.removesuffix(SUFFIX)
            if node.op == "QuantizeLinear" or name == integers.name or name in there or name not in wanted:
                continue
            reader = next((one for one in integers.outputs if one.op == "DequantizeLinear"), None)
            if reader is not None:
                _show(graph, integers, reader, name)
    graph.toposort()


def _show(graph: gs.Graph, integers: gs.Tensor, reader: gs.Node, name: str) -> None:
    parameters, attributes = list(reader.inputs[1:]), dict(reader.attrs)
    floats = reader.outputs[0]
    floats.name = name
    again = gs.Variable(f"{name}.again", dtype=integers.dtype, shape=integers.shape)
    for other in list(integers.outputs):
        if other is not reader:
            other.inputs = [again if tensor is integers else tensor for tensor in other.inputs]
    graph.nodes.append(
        gs.Node(
            "QuantizeLinear",
            f"{reader.name}/again",
            attrs=attributes,
            inputs=[floats, *parameters],
            outputs=[again],
        )
    )
