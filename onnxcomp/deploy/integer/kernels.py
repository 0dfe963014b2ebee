"""Which operators ONNX Runtime runs in integers, by the rules of its Q/DQ fusions.

These are the conditions of ONNX Runtime 1.19 and 1.31 (qdq_selectors.cc in
onnxruntime/core/optimizer/qdq_transformer/selectors_actions): see the tests, which compare with its graphs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.deploy.integer.moves import MOVING
from onnxcomp.deploy.integer.pairs import dequantizer, quantizers

BOTH_SIDES = (
    "Add",
    "AveragePool",
    "Concat",
    "GlobalAveragePool",
    "LeakyRelu",
    "Mul",
    "Sigmoid",
    "Softmax",
)
"""Integer where all inputs are dequantized and the output is quantized."""
LAYERS = ("Conv", "Gemm", "MatMul")
PAIRS = ("QuantizeLinear", "DequantizeLinear")
FREE = ("Flatten", "Identity", "Reshape", "Shape", "Squeeze", "Unsqueeze")
"""Operators that compute nothing and copy nothing; they are not counted."""
MOST_LINES = 6
NO_VNNI = (
    '  x86 CPUs without VNNI: set the session option session.x64quantprecision to "1", or products saturate'
)


@dataclass(frozen=True)
class Kernels:
    """Where a deployable network computes in integers.

    Attributes:
        integer: operators that do.
        floats: name, operator and reason of those that do not.
    """

    integer: int
    floats: tuple[tuple[str, str, str], ...]

    def lines(self) -> list[str]:
        """A count, a line for each of the first operators and reasons that remain float, and a warning."""
        found = [f"{self.integer} of {self.integer + len(self.floats)} operators in integer kernels"]
        groups: dict[tuple[str, str], list[str]] = {}
        for name, op, reason in self.floats:
            groups.setdefault((op, reason), []).append(name)
        for (op, reason), names in list(groups.items())[:MOST_LINES]:
            which = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            found.append(f"  float: {len(names)} {op} ({which}): {reason}")
        rest = sum(map(len, list(groups.values())[MOST_LINES:]))
        if rest:
            found.append(f"  float: {rest} more")
        return [*found, NO_VNNI] if self.integer else found


def kernels(graph: gs.Graph) -> Kernels:
    """Judge each operator that computes on activations; sums of constants and shapes do not count."""
    integer, floats = 0, []
    for node in graph.nodes:
        if node.op in (*PAIRS, *FREE) or not _computes(node):
            continue
        reason = _reason(graph, node)
        if reason:
            floats.append((node.name, node.op, reason))
        else:
            integer += 1
    return Kernels(integer, tuple(floats))


def _computes(node: gs.Node) -> bool:
    """Whether ``node`` gives an activation."""
    dtype = node.outputs[0].dtype
    if dtype is not None and np.dtype(dtype) not in (np.float32, np.uint8, np.int8):
        return False
    return not all(isinstance(tensor, gs.Constant) for tensor in node.inputs)


def _reason(graph: gs.Graph, node: gs.Node) -> str:
    """Why ``node`` is computed in float32, or ""."""
    if _is_integer(node.inputs[0]):
        return ""
    if node.op in (*MOVING, "Gather", "Slice", "Split") and node.op not in BOTH_SIDES:
        return "it moves floats"
    if node.op not in (*BOTH_SIDES, *LAYERS):
        return "ONNX Runtime has no integer kernel for it"
    if any(dequantizer(tensor) is None for tensor in node.inputs[:2]):
        return "its inputs are not all quantized"
    if node.op in BOTH_SIDES and any(dequantizer(tensor) is None for tensor in node.inputs):
        return "its inputs are not all quantized"
    if node.op in LAYERS and len(node.inputs) > 2 and dequantizer(node.inputs[2]) is None:
        return "its bias is float32"
    if node.op not in ("Gemm", "MatMul") and not quantizers(graph, node.outputs[0]):
        return "its output is not quantized"
    return ""


def _is_integer(tensor: gs.Tensor) -> bool:
    return tensor.dtype is not None and np.dtype(tensor.dtype) in (np.uint8, np.int8)
