"""Why the parser of TensorRT 8.5 would refuse a quantised file, or compute something else.

The documented rules of Q/DQ (Developer Guide 8.5, 7.4; onnx-tensorrt release/8.5-GA,
builtin_op_importers.cpp): opset 13 to 17, operators of ai.onnx alone, three inputs, constant float32 scales
above 0, zero points of 0, no UINT8, weights as float32 -> Q -> DQ per tensor or per output channel, no
quantised bias, activations per tensor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

PAIR = ("QuantizeLinear", "DequantizeLinear")
REFUSED = {"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"}
OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1}


def broken(path: Path) -> list[str]:
    """The rules that the file breaks, with how many nodes break each; none for a file that keeps them."""
    model = onnx.load(path)
    found = Counter(_nodes(model))
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    lines = [] if 13 <= opset <= 17 else [f"opset {opset}"]
    return [*lines, *(f"{count} {reason}" for reason, count in found.most_common())]


def _nodes(model: onnx.ModelProto) -> Iterator[str]:
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = node.attribute[0].t
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx"):
            yield f"of domain {node.domain}"
        elif node.op_type in REFUSED:
            yield node.op_type
        elif node.op_type in PAIR:
            yield from _pair(node, constants, readers)


def _pair(
    node: onnx.NodeProto, constants: dict[str, onnx.TensorProto], readers: dict[str, list[onnx.NodeProto]]
) -> Iterator[str]:
    if len(node.input) != 3:
        yield "without zero point"
        return
    source, scale, zero = (constants.get(name) for name in node.input)
    if scale is None or zero is None:
        yield "scales that are computed"
        return
    if scale.data_type != onnx.TensorProto.FLOAT:
        yield "scales not float32"
    scales, zeros = numpy_helper.to_array(scale), numpy_helper.to_array(zero)
    if not np.all(scales > 0):
        yield "scales not above 0"
    if zero.data_type == onnx.TensorProto.UINT8:
        yield "UINT8"
    elif zero.data_type != onnx.TensorProto.INT8:
        yield f"{onnx.TensorProto.DataType.Name(zero.data_type)} (bias)"
    if np.any(zeros != 0):
        yield "zero points not 0"
    if node.op_type == "DequantizeLinear" and source is not None:
        yield "constants stored as integers"
    if scales.size > 1:
        yield from _per_channel(node, source, scales.size, readers)


def _per_channel(
    node: onnx.NodeProto,
    source: onnx.TensorProto | None,
    count: int,
    readers: dict[str, list[onnx.NodeProto]],
) -> Iterator[str]:
    axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), None)
    if axis is None:
        yield "per channel without axis"
        return
    if node.op_type == "QuantizeLinear" and source is None:
        yield "activations per channel"
    if source is not None and source.dims[axis] != count:
        yield "scales not as many as channels"
    for reader in readers.get(node.output[0], []):
        wanted = OUTPUT_AXIS.get(reader.op_type)
        if reader.op_type == "Gemm":
            turned = next((one.i for one in reader.attribute if one.name == "transB"), 0)
            wanted = 0 if turned else 1
        if wanted is not None and axis != wanted:
            yield "not per output channel"
