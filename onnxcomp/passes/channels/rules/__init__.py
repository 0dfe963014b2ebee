"""What each operator does with channels: operator type to rule. One that is not here keeps them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_graphsurgeon as gs

from onnxcomp.passes.channels.analysis import Analysis
from onnxcomp.passes.channels.rules import elementwise, move, normalise, reduce, weighted

Rule = Callable[[Analysis, gs.Node], None]

POOLS = ("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
REDUCTIONS = tuple(f"Reduce{kind}" for kind in ("Mean", "Sum", "Max", "Min", "Prod", "L1", "L2", "SumSquare"))
RULES: Mapping[str, Rule] = {
    "Conv": weighted.conv,
    "ConvTranspose": weighted.conv_transpose,
    "Gemm": weighted.gemm,
    "MatMul": weighted.matmul,
    "BatchNormalization": normalise.per_channel,
    "InstanceNormalization": normalise.per_channel,
    "LayerNormalization": normalise.over_axes,
    "Softmax": normalise.over_axes,
    "LogSoftmax": normalise.over_axes,
    "QuantizeLinear": elementwise.quantize,
    "DequantizeLinear": elementwise.quantize,
    "Concat": move.concat,
    "Split": move.split,
    "Slice": move.cut_out,
    "Gather": move.gather,
    "Reshape": move.reshape,
    "Flatten": move.reshape,
    "Squeeze": move.reshape,
    "Unsqueeze": move.reshape,
    "Transpose": move.transpose,
    "Expand": move.expand,
    "Pad": move.pad,
    "Resize": move.resize,
    "Shape": move.shape_of,
    **dict.fromkeys(elementwise.UNARY, elementwise.unary),
    **dict.fromkeys(elementwise.NARY, elementwise.nary),
    **dict.fromkeys(POOLS, reduce.pool),
    **dict.fromkeys(REDUCTIONS, reduce.reduce),
}
