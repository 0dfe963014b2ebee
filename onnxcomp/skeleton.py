"""A ModelProto without its large arrays, for what only needs their shapes.

Checking, shape inference and import copy a ModelProto several times over; of a network of 100 MB that is
most of the memory and time that opening it takes.
"""

from __future__ import annotations

from math import prod

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray
from onnx import TensorProto

SMALL = 1024  # values; shape inference may read small ones, such as the factors of a Resize
KINDS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT8)
Arrays = dict[str, NDArray[np.generic]]


def split(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, Arrays]:
    """A copy of ``proto`` in which large initializers are inputs, and their values by name.

    Raises:
        onnx.checker.ValidationError: a large initializer breaks the specification.
        ValueError: its data does not have its shape.
    """
    inputs = {entry.name for entry in proto.graph.input}
    large = [t for t in proto.graph.initializer if _is_large(t) and t.name and t.name not in inputs]
    names = {tensor.name for tensor in large}
    if len(names) < len(large):  # the checker tells which name comes twice
        large, names = [], set()
    skeleton = onnx.ModelProto()
    for field, value in proto.ListFields():
        if field.name != "graph":
            _copy(skeleton, field.name, value)
    for field, value in proto.graph.ListFields():
        if field.name != "initializer":
            _copy(skeleton.graph, field.name, value)
    skeleton.graph.initializer.extend(t for t in proto.graph.initializer if t.name not in names)
    arrays: Arrays = {}
    for tensor in large:
        onnx.checker.check_tensor(tensor)
        arrays[tensor.name] = onnx.numpy_helper.to_array(tensor)
        described = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        skeleton.graph.input.append(described)
    return skeleton, arrays


def fill(graph: gs.Graph, arrays: Arrays) -> None:
    """Make constants again of the inputs that stand for ``arrays``, which are used without a copy."""
    for tensor in [entry for entry in graph.inputs if entry.name in arrays]:
        tensor.to_constant(arrays[tensor.name])
    graph.inputs = [entry for entry in graph.inputs if entry.name not in arrays]


def outline(graph: gs.Graph) -> gs.Graph:
    """A copy of ``graph`` in which large constants are inputs: for checks of all but their values."""
    copy, inputs = graph.copy(), dict[str, gs.Variable]()
    for node in copy.nodes:
        for index, tensor in enumerate(node.inputs):
            if isinstance(tensor, gs.Constant) and prod(tensor.shape) >= SMALL:
                shaped = gs.Variable(tensor.name, tensor.dtype, tensor.shape)
                node.inputs[index] = inputs.setdefault(tensor.name, shaped)
    copy.inputs += inputs.values()
    return copy


def _is_large(tensor: TensorProto) -> bool:
    return tensor.data_type in KINDS and prod(tensor.dims) >= SMALL


def _copy(message: onnx.ModelProto | onnx.GraphProto, name: str, value: object) -> None:
    if isinstance(value, str | int | float | bytes):
        setattr(message, name, value)
    else:
        getattr(message, name).MergeFrom(value)
