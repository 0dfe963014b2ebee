"""What TensorRT's parser asks of each QuantizeLinear and DequantizeLinear.

The checks of ``QuantDequantLinearHelper`` in builtin_op_importers.cpp of onnx/onnx-tensorrt, release 8.5-GA,
and as 10.x changed them, with the Developer Guide's words where that is the source.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.deploy.lint import pairs
from onnxcomp.deploy.lint.network import Network, constant, dtype, name_of, present, sizes, values
from onnxcomp.deploy.lint.rule import Hit, Rule, Scope
from onnxcomp.deploy.targets import Target

PARSER = "onnx-tensorrt, builtin_op_importers.cpp, QuantDequantLinearHelper"
AXIS_SINCE = 13
EVERY, OLD, NEW = Scope("tensorrt"), Scope("tensorrt", before=(10,)), Scope("tensorrt", since=(10,))
INTEGERS = ("int8", "int4", "float8e4m3fn", "float4e2m1")
FLOATS = ("float32", "float16", "bfloat16")
_AGAIN = "quantise again with symmetric INT8: onnxcomp apply qat, then finalize for this target"


def _three_inputs(network: Network, target: Target) -> Iterator[Hit]:
    for node in pairs.pair_nodes(network):
        count = sum(present(node, index) is not None for index in range(len(node.inputs)))
        if count != 3:
            yield Hit(name_of(node), f"{node.op} has {count} inputs")


def _absent_zero_point(network: Network, target: Target) -> Iterator[Hit]:
    for node in pairs.pair_nodes(network):
        if node.op == pairs.QUANTIZE and present(node, 2) is None and not node.attrs.get("output_dtype"):
            yield Hit(name_of(node), "QuantizeLinear has no zero point")


def _zero_points(network: Network, target: Target) -> Iterator[Hit]:
    for node in pairs.pair_nodes(network):
        found = values(present(node, 2))
        if found is not None and bool(np.any(found.astype(np.float32) != 0)):
            yield Hit(name_of(node), "its zero point is not 0")


def _zero_point_count(network: Network, target: Target) -> Iterator[Hit]:
    for node in pairs.pair_nodes(network):
        found, scales = values(present(node, 2)), pairs.scale_size(node)
        if found is not None and scales is not None and found.size != scales:
            yield Hit(name_of(node), f"{found.size} zero points for {scales} scales")


def _computed(network: Network, target: Target) -> Iterator[Hit]:
    for node in pairs.pair_nodes(network):
        for index, what in ((1, "scale"), (2, "zero point")):
            tensor = present(node, index)
            if tensor is not None and constant(tensor) is None:
                yield Hit(name_of(node), f"its {what} is not a constant")


def _positive(network: Network, target: Target) -> Iterator[Hit]:
    for node in pairs.pair_nodes(network):
        found = values(present(node, 1))
        if found is not None and not np.all(np.isfinite(found) & (found.astype(np.float64) > 0)):
            yield Hit(name_of(node), "a scale is not above 0 and finite")


def _scale_type(network: Network, target: Target) -> Iterator[Hit]:
    assert target.tensorrt is not None
    taken = FLOATS[:1] if target.tensorrt < (10,) else FLOATS
    for node in pairs.pair_nodes(network):
        found = dtype(present(node, 1))
        if found and found not in taken:
            yield Hit(name_of(node), f"its scale is {found}")


def _integer_type(network: Network, target: Target) -> Iterator[Hit]:
    assert target.tensorrt is not None
    taken = INTEGERS[:1] if target.tensorrt < (10,) else INTEGERS
    biases = {id(pairs.bias(layer.node)) for layer in pairs.layers(network)}
    for node in pairs.pair_nodes(network):
        # Without a zero point other rules speak, but of what is stored.
        found = dtype(present(node, 2)) or dtype(constant(node.inputs[0]))
        if node.op == pairs.QUANTIZE and present(node, 2) is None:
            continue
        if found and found not in taken and id(node.outputs[0]) not in biases:
            yield Hit(name_of(node), f"its integers are {found}")


def _axis(network: Network, target: Target) -> Iterator[Hit]:
    for node in _per_channel(network):
        if "axis" not in node.attrs:
            yield Hit(name_of(node), "has a scale for each channel and no attribute axis")
        elif network.opset < AXIS_SINCE:
            yield Hit(name_of(node), f"has a scale for each channel in opset {network.opset}")


def _axis_count(network: Network, target: Target) -> Iterator[Hit]:
    for node in _per_channel(network):
        shape, count, axis = sizes(node.inputs[0]), pairs.scale_size(node), int(node.attrs.get("axis", 0))
        if shape is None:
            continue
        size = shape[axis] if -len(shape) <= axis < len(shape) else 0
        if size not in (None, count):
            yield Hit(name_of(node), f"{count} scales for {size} channels of axis {axis}")


def _per_channel_activation(network: Network, target: Target) -> Iterator[Hit]:
    for node in _per_channel(network):
        if not pairs.is_constant(pairs.source(node.inputs[0])):
            yield Hit(name_of(node), "quantises an activation per channel")


def _per_channel(network: Network) -> Iterator[gs.Node]:
    return (node for node in pairs.pair_nodes(network) if (pairs.scale_size(node) or 1) > 1)


def _alone(network: Network, target: Target) -> Iterator[Hit]:
    for node in pairs.pair_nodes(network):
        if node.op == pairs.QUANTIZE:
            others = sorted({reader.op for reader in node.outputs[0].outputs} - {pairs.DEQUANTIZE})
            if others or network.is_output(node.outputs[0]):
                yield Hit(name_of(node), f"its integers are read by {others[0] if others else 'the output'}")
        elif constant(node.inputs[0]) is None:
            before = node.inputs[0].inputs
            if not before or before[0].op != pairs.QUANTIZE:
                yield Hit(
                    name_of(node), f"it dequantises what {before[0].op if before else 'an input'} gives"
                )


def _opset(network: Network, target: Target) -> Iterator[Hit]:
    if network.opset < AXIS_SINCE:
        for node in pairs.pair_nodes(network):
            yield Hit(name_of(node), f"{node.op} of opset {network.opset}")


RULES = (
    Rule(
        "qdq-inputs",
        "error",
        OLD,
        f'"This version of TensorRT requires 3 inputs" ({PARSER}, 8.5)',
        "give each QuantizeLinear and DequantizeLinear a zero point of INT8 zeros",
        _three_inputs,
    ),
    Rule(
        "zero-point-absent",
        "warning",
        NEW,
        "without a zero point ONNX means UINT8, and TensorRT quantises to INT8: other answers",
        "give it a zero point of INT8 zeros",
        _absent_zero_point,
    ),
    Rule(
        "zero-point",
        "error",
        EVERY,
        f'"TRT only supports symmetric quantization - zeroPt must be all zeros" ({PARSER})',
        _AGAIN,
        _zero_points,
    ),
    Rule(
        "zero-point-count",
        "error",
        EVERY,
        f'"The scale and zero-point must have the same size" ({PARSER})',
        "write as many zero points as scales",
        _zero_point_count,
    ),
    Rule(
        "computed-scale",
        "error",
        EVERY,
        '"x_scale and x_zero_point must be initializers" (onnx-tensorrt, docs/operators.md)',
        "fold constants: polygraphy surgeon sanitize --fold-constants",
        _computed,
    ),
    Rule(
        "scale-positive",
        "error",
        EVERY,
        f'"Scale coefficients must all be positive" ({PARSER})',
        "calibrate again, or give dead channels a scale of 1",
        _positive,
    ),
    Rule(
        "scale-type",
        "error",
        EVERY,
        f"before 10 scales are read as float32, whatever they are; later as float types ({PARSER})",
        "write scales as float32",
        _scale_type,
    ),
    Rule(
        "integer-type",
        "error",
        EVERY,
        "TensorRT quantises to INT8, from 10 on also to INT4 and FP8; UINT8 is for network inputs and"
        " outputs only (onnx-tensorrt, docs/operators.md)",
        _AGAIN,
        _integer_type,
    ),
    Rule(
        "axis-missing",
        "error",
        EVERY,
        f"TensorRT then takes axis 0, ONNX axis 1 ({PARSER}); before opset 13 there is no axis",
        "write the axis, in opset 13 or newer",
        _axis,
    ),
    Rule(
        "axis-count",
        "error",
        EVERY,
        f'"The number of scales is not equal to the number of output channels" ({PARSER})',
        "write one scale for each size of the axis",
        _axis_count,
    ),
    Rule(
        "per-channel-activation",
        "error",
        EVERY,
        '"Activations-quantization does not support per-axis quantization" (builtin_op_importers.cpp)',
        "quantise activations with one scale",
        _per_channel_activation,
    ),
    Rule(
        "pair",
        "warning",
        EVERY,
        "TensorRT fuses pairs of QuantizeLinear and DequantizeLinear with the operators around them;"
        " operators on integers in between keep it from doing so (Developer Guide 8.5, 7.4)",
        "dequantise before each operator",
        _alone,
    ),
    Rule(
        "qdq-opset",
        "warning",
        EVERY,
        "Q/DQ with an axis is of opset 13; older ones know one scale only (ONNX, docs/Changelog.md)",
        "export with opset 13 to 17",
        _opset,
    ),
)
