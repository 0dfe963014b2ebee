"""QuantizeLinear/DequantizeLinear in the shape a target wants, without changing a value.

Weights pass through one form in between, INT8 constant -> DequantizeLinear, because the integers are
what must survive: folding a BatchNormalization into them changes scales and signs only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxcomp import graphs
from onnxcomp.deploy.targets import Target
from onnxcomp.errors import ModelError

UINT8_ZERO = 128
_FIX = "finalize the compression form that onnxcomp wrote, or start from the float32 model"


def check_pairs(graph: gs.Graph, target: Target) -> None:
    """Check that each Q/DQ pair is what onnxcomp writes, and of a kind that ``target`` takes.

    Weights are INT8 with zero point 0; so are activations, or UINT8 with one zero point where the target
    runs them. Both nodes of a pair have the same scale, above 0, and Q has one reader.

    Raises:
        ModelError: another kind of quantization; names the node.
    """
    nodes = [node for node in graph.nodes if node.op in ("QuantizeLinear", "DequantizeLinear")]
    for node in nodes:
        _check_parameters(node, target)
    for node in nodes:
        _check_pair(node)


def _check_parameters(node: gs.Node, target: Target) -> None:
    scale, zero = (*node.inputs[1:3], None)[:2]
    weight = graphs.constant_behind(node.inputs[0])
    if not isinstance(scale, gs.Constant) or not isinstance(zero, gs.Constant):
        raise ModelError(f"{node.op} has no constant zero point", where=node.name, fix=_FIX)
    if weight is None and zero.dtype == np.uint8 and target.activations != "uint8":
        fix = f"apply qat with --target {target.name}"
        raise ModelError(f"{node.op} is UINT8, for ONNX Runtime on a CPU", where=node.name, fix=fix)
    unsigned = weight is None and zero.dtype == np.uint8
    if not unsigned and (zero.dtype != np.int8 or np.any(zero.values != 0)):
        raise ModelError(f"{node.op} is not symmetric INT8", where=node.name, fix=_FIX)
    if scale.dtype != np.float32 or not np.all((scale.values > 0) & np.isfinite(scale.values)):
        raise ModelError("its scale is not float32 above 0", where=node.name, fix=_FIX)
    if scale.values.size > 1 and weight is None:
        raise ModelError("quantizes an activation per channel", where=node.name, fix=_FIX)
    if weight is not None and not scale_fits(node, weight.shape):
        raise ModelError("its scale does not fit what it scales", where=node.name, fix=_FIX)


def scale_fits(node: gs.Node, shape: Sequence[int]) -> bool:
    """Whether a Q or DQ of what has ``shape`` has one scale, or one for each channel of its axis."""
    size, axis = node.inputs[1].values.size, int(node.attrs.get("axis", 1))
    return size == 1 or (-len(shape) <= axis < len(shape) and node.inputs[1].shape == (shape[axis],))


def _check_pair(node: gs.Node) -> None:
    if node.op == "QuantizeLinear":
        readers = node.outputs[0].outputs
        if len(readers) != 1 or readers[0].op != "DequantizeLinear":
            raise ModelError("is not read by exactly one DequantizeLinear", where=node.name, fix=_FIX)
        partner = readers[0]
    else:
        producers = node.inputs[0].inputs
        if not producers or producers[0].op != "QuantizeLinear":
            raise ModelError("has no QuantizeLinear before it", where=node.name, fix=_FIX)
        partner = producers[0]
    for index, what in ((1, "scales"), (2, "zero points")):
        if not np.array_equal(node.inputs[index].values, partner.inputs[index].values):
            raise ModelError(f"and {partner.name} have different {what}", where=node.name, fix=_FIX)


def quantize(values: NDArray[np.float32], scale: NDArray[np.float32], axis: int) -> NDArray[np.int8]:
    """ONNX QuantizeLinear to INT8 with zero point 0: float32 division, half to even, saturating.

    Args:
        values: float32, any shape.
        scale: float32, shape () or (values.shape[axis],).
    """
    steps = np.rint(values / graphs.along(scale, axis, values.ndim))
    integers: NDArray[np.int8] = np.clip(steps, -128, 127).astype(np.int8)
    return integers


def dequantize(values: NDArray[np.int8], scale: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """ONNX DequantizeLinear with zero point 0: float32, shape of ``values``."""
    return values.astype(np.float32) * graphs.along(scale, axis, values.ndim)


def store_integers(graph: gs.Graph) -> int:
    """Replace float32 weight -> Q -> DQ by INT8 constant -> DQ; returns how many weights."""
    pairs = [pair for pair in graphs.quantizers(graph) if isinstance(pair.source, gs.Constant)]
    for pair in pairs:
        output = pair.quantize.outputs[0]
        integers = quantize(pair.source.values, pair.scale.values, pair.axis)
        pair.dequantize.inputs[0] = gs.Constant(output.name, integers)
        if pair.per_channel:
            pair.dequantize.attrs["axis"] = pair.axis
        pair.quantize.outputs.clear()
        pair.quantize.inputs.clear()
    graph.cleanup(remove_unused_graph_inputs=False)
    return len(pairs)


def store_floats(graph: gs.Graph) -> None:
    """Replace INT8 constant -> DQ by float32 weight -> Q -> DQ.

    The weight is integer * scale, which QuantizeLinear turns back into exactly that integer: the two
    float32 roundings move it by less than 128 * 2**-23 of a step.
    """
    taken = set(graph.tensors())
    for node in list(graph.nodes):
        if node.op != "DequantizeLinear" or not isinstance(node.inputs[0], gs.Constant):
            continue
        integers, scale, zero = node.inputs
        axis = int(node.attrs.get("axis", 1))
        stem = graphs.free_name(integers.name.removesuffix(".quantized"), taken)
        weight = gs.Constant(stem, dequantize(integers.values, scale.values, axis))
        quantized = gs.Variable(integers.name, np.int8, integers.shape)
        attrs = {"axis": axis} if scale.values.ndim else {}
        name = node.name.removesuffix("/dequantize") + "/quantize"
        graph.nodes.append(gs.Node("QuantizeLinear", name, attrs, [weight, scale, zero], [quantized]))
        node.inputs[0] = quantized
    graph.toposort()


def use_uint8_activations(graph: gs.Graph) -> int:
    """Shift every activation pair from INT8, zero point 0 to UINT8, zero point 128; returns how many.

    The integers move by 128 and the dequantized values not at all. Pairs that are UINT8 already stay.
    """
    pairs = [pair for pair in graphs.quantizers(graph) if not isinstance(pair.source, gs.Constant)]
    pairs = [pair for pair in pairs if pair.quantize.inputs[2].dtype == np.int8]
    for pair in pairs:
        del pair.quantize.inputs[2], pair.dequantize.inputs[2]
    taken = set(graph.tensors())
    for pair in pairs:
        name = graphs.free_name(f"{pair.source.name}.zero_point", taken)
        zero = gs.Constant(name, np.full(pair.scale.shape, UINT8_ZERO, np.uint8))
        pair.quantize.inputs.append(zero)
        pair.dequantize.inputs.append(zero)
        pair.quantize.outputs[0].dtype = np.dtype(np.uint8)
    return len(pairs)
