"""Mends of what lint finds that leave every number as it is, as the ONNX specification computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxcomp.deploy import layer_norm, qdq
from onnxcomp.deploy.lint.network import STANDARD, constant, present
from onnxcomp.deploy.lint.pairs import DEQUANTIZE, LAYERS, QUANTIZE, dequantizer
from onnxcomp.deploy.opset import lower_opset
from onnxcomp.deploy.targets import Target

SPEC_AXIS = 1
"""Of a missing attribute axis (QuantizeLinear-13 of the ONNX specification)."""


@dataclass(frozen=True)
class Fix:
    """One mend.

    Attributes:
        text: what it does, with ``{}`` for the number of places.
        suits: for which targets.
        apply: does it in place; returns the number of places.
    """

    text: str
    suits: Callable[[Target], bool]
    apply: Callable[[gs.Graph, Target], int]


def _biases(graph: gs.Graph, target: Target) -> int:
    """A bias of constant integers becomes the float32 numbers that its DequantizeLinear gives."""
    count = 0
    for node in graph.nodes:
        pair = dequantizer(present(node, 2)) if node.op in LAYERS[:3] else None
        values = None if pair is None else _dequantized(pair)
        if values is not None:
            node.inputs[2] = gs.Constant(f"{node.inputs[2].name}.float", values)
            count += 1
    return count


def _dequantized(node: gs.Node) -> NDArray[np.float32] | None:
    stored, scale, zero = (_constant(node, index) for index in range(3))
    if stored is None or scale is None or (zero is None and present(node, 2) is not None):
        return None
    sizes = [one.values.size for one in (scale, zero) if one is not None]
    if any(size != 1 and stored.shape != (size,) for size in sizes):
        return None
    shift = 0 if zero is None else zero.values.astype(np.float32)
    values = (stored.values.astype(np.float32) - shift) * scale.values
    return values.astype(np.float32) if values.shape == stored.shape else None


def _zero_points(graph: gs.Graph, target: Target) -> int:
    """A DequantizeLinear of stored integers without a zero point gets the 0 that it means."""
    count = 0
    for node in graph.nodes:
        if node.op != DEQUANTIZE or present(node, 2) is not None:
            continue
        stored, scale = _constant(node, 0), _constant(node, 1)
        if stored is not None and scale is not None:
            node.inputs = [*node.inputs[:2], _zeros(node, stored.dtype, scale)]
            count += 1
    return count


def _zero_counts(graph: gs.Graph, target: Target) -> int:
    """Zero points that are all 0 take the shape of the scales."""
    count = 0
    for node in _pair_nodes(graph):
        scale, zero = _constant(node, 1), _constant(node, 2)
        if scale is not None and zero is not None and zero.shape != scale.shape and not np.any(zero.values):
            node.inputs[2] = _zeros(node, zero.dtype, scale)
            count += 1
    return count


def _zeros(node: gs.Node, dtype: np.dtype[np.generic], scale: gs.Constant) -> gs.Constant:
    return gs.Constant(f"{node.outputs[0].name}.zero_point", np.zeros(scale.shape, dtype))


def _signed(graph: gs.Graph, target: Target) -> int:
    """Pairs of UINT8 with zero point 128 become INT8 with 0: the same steps, shifted."""
    count = 0
    for node in [node for node in _pair_nodes(graph) if node.op == QUANTIZE]:
        readers = node.outputs[0].outputs
        if readers and all(_is_middle(one) for one in (node, *readers)):
            for one in (node, *readers):
                one.inputs[2] = _zeros(one, np.dtype(np.int8), _constant(one, 1))
            node.outputs[0].dtype = np.dtype(np.int8)
            count += 1
    return count


def _is_middle(node: gs.Node) -> bool:
    zero = _constant(node, 2)
    pair = node.op in (QUANTIZE, DEQUANTIZE) and _constant(node, 1) is not None
    return (
        pair and zero is not None and zero.dtype == np.uint8 and bool(np.all(zero.values == qdq.UINT8_ZERO))
    )


def _axes(graph: gs.Graph, target: Target) -> int:
    """A missing attribute axis, which TensorRT 8.5 reads as 0, says the 1 that it means."""
    count = 0
    for node in _pair_nodes(graph):
        scale = _constant(node, 1)
        if scale is not None and scale.values.size > 1 and "axis" not in node.attrs:
            node.attrs["axis"] = SPEC_AXIS
            count += 1
    return count


def _float_weights(graph: gs.Graph, target: Target) -> int:
    """Weights stored in INT8 become float32 in front of QuantizeLinear, which gives the same integers."""
    found = [node for node in _pair_nodes(graph) if isinstance(node.inputs[0], gs.Constant)]
    found = [node for node in found if node.op == DEQUANTIZE]
    usual = all(node.inputs[0].dtype == np.int8 and _is_zero(node) for node in found)
    usual = usual and all(qdq.scale_fits(node, node.inputs[0].shape) for node in found)
    if not usual:  # of another kind, which only a new quantisation mends
        return 0
    qdq.store_floats(graph)
    return len(found)


def _is_zero(node: gs.Node) -> bool:
    zero = _constant(node, 2)
    return zero is not None and _constant(node, 1) is not None and not np.any(zero.values)


def _layer_norms(graph: gs.Graph, target: Target) -> int:
    return layer_norm.write_out(graph) if graph.opset <= target.max_opset else 0


def _opset(graph: gs.Graph, target: Target) -> int:
    """Raises:
    ModelError: an operator has no equal there; names the node.
    """
    if graph.opset <= target.max_opset or any(node.domain not in STANDARD for node in graph.nodes):
        return 0
    lower_opset(graph, target.max_opset)
    return 1


def _constant(node: gs.Node, index: int) -> gs.Constant | None:
    tensor = present(node, index)
    return None if tensor is None else constant(tensor)


def _pair_nodes(graph: gs.Graph) -> Iterator[gs.Node]:
    return (node for node in graph.nodes if node.op in (QUANTIZE, DEQUANTIZE))


def _tensorrt(target: Target) -> bool:
    return target.tensorrt is not None


FIXES = (
    Fix("{} biases behind DequantizeLinear are float32 numbers now", _tensorrt, _biases),
    Fix("{} DequantizeLinear without a zero point say 0", _tensorrt, _zero_points),
    Fix("{} zero points have the shape of their scales", _tensorrt, _zero_counts),
    Fix("{} UINT8 pairs around 128 are INT8 around 0", _tensorrt, _signed),
    Fix("{} Q and DQ per channel say their axis", _tensorrt, _axes),
    Fix(
        "{} weights are float32 in front of QuantizeLinear",
        lambda target: target.tensorrt is not None and target.weights == "float" and not target.dla,
        _float_weights,
    ),
)
"""In the order in which they are applied."""
OPSET = Fix("the opset is that of the target", lambda target: True, _opset)
LAYER_NORM = Fix(
    "{} LayerNormalization are written out",
    lambda target: target.tensorrt is not None and target.tensorrt < layer_norm.PARSED_FROM,
    _layer_norms,
)
