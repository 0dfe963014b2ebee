"""Parameters that are only reshaped, and their gradients, are bound in the shape that is computed with.

ONNX Runtime copies what is reshaped on its way into or out of a session. The arrays are bound by
address, so another shape of the same size is the same array.
"""

from __future__ import annotations

from collections import defaultdict
from math import prod
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from onnxcomp.training.lowering.base import GradientLowering

GRADIENT_SUFFIX = "_grad"
Shape = tuple[int, ...]


def bind_views(graph: onnx.GraphProto) -> int:
    """Drop Reshape nodes next to inputs and gradients, which change their shapes; returns how many."""
    shapes = {
        tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer if len(tensor.dims) == 1
    }
    producers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)
    outputs = {entry.name: entry for entry in graph.output}
    dropped: dict[str, str] = {}  # what a Reshape wrote, and what is read in its place
    renamed: dict[str, str] = {}  # what the producer of a gradient wrote, and what it writes now
    for entry in graph.input:
        views = {_view(entry, node, shapes) for node in readers[entry.name]}
        if len(views) != 1 or () in views or any(node.output[0] in outputs for node in readers[entry.name]):
            continue
        dropped.update((node.output[0], entry.name) for node in readers[entry.name])
        (view,) = views
        _set_shape(entry, view)
        gradient = producers.get(entry.name + GRADIENT_SUFFIX)
        if gradient is not None and gradient.op_type == "Reshape" and gradient.input[0] in producers:
            dropped[gradient.output[0]] = gradient.output[0]
            renamed[gradient.input[0]] = gradient.output[0]
            _set_shape(outputs[gradient.output[0]], view)
    _rewrite(graph, dropped, renamed)
    return len(dropped)


def _view(entry: onnx.ValueInfoProto, node: NodeProto, shapes: dict[str, NDArray[Any]]) -> Shape:
    """The shape in which ``node`` sees an input that it only reshapes, or ()."""
    if node.op_type != "Reshape" or node.input[0] != entry.name or node.input[1] not in shapes:
        return ()
    size = prod(d.dim_value for d in entry.type.tensor_type.shape.dim)
    target = [int(number) for number in shapes[node.input[1]]]
    if 0 in target:
        return ()
    known = prod(number for number in target if number > 0)
    return tuple(size // known if number == -1 else number for number in target)


def _set_shape(entry: onnx.ValueInfoProto, shape: Shape) -> None:
    entry.CopyFrom(helper.make_tensor_value_info(entry.name, TensorProto.FLOAT, shape))


def _rewrite(graph: onnx.GraphProto, dropped: dict[str, str], renamed: dict[str, str]) -> None:
    kept = [NodeProto.FromString(n.SerializeToString()) for n in graph.node if n.output[0] not in dropped]
    for node in kept:
        node.input[:] = [renamed.get(dropped.get(name, name), dropped.get(name, name)) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    del graph.node[:]
    graph.node.extend(kept)


LOWERING = GradientLowering(
    "bound views", "Reshape of a parameter, and of its gradient, which would be copied", bind_views
)
