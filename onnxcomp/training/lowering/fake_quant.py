"""QuantizeLinear/DequantizeLinear pairs become fake quantisation with a straight-through gradient.

Q/DQ has no gradient in ONNX Runtime. `com.microsoft::FakeQuant` gives the same numbers and passes the
gradient where the rounded value lies within the range (as `torch.fake_quantize` does), but takes one
scale only. Per channel, `Div(S) -> FakeQuant(scale 1) -> Mul(S)` does the same; with S trainable it
would be LSQ (Esser et al., 2020, eq. 2 and 3).
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.model import Role
from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import Lowering

INT8_MIN, WEIGHT_MIN, INT8_MAX = -128, -127, 127


def lower_fake_quant(graph: gs.Graph, weights: set[str]) -> int:
    """Replace every Q/DQ pair; returns how many.

    Args:
        weights: names of the trainable tensors. Quantised weights are symmetric, -127..127; all
            other tensors use -128..127.
    """
    pairs = list(graphs.quantizers(graph))
    for pair in pairs:
        low = WEIGHT_MIN if _is_weight(pair.source, weights) else INT8_MIN
        if pair.per_channel:
            _per_channel(graph, pair, low)
        else:
            _per_tensor(graph, pair, low)
    if pairs:
        edit.use_microsoft(graph)
        edit.settle(graph)
    return len(pairs)


def _is_weight(tensor: gs.Tensor, weights: set[str]) -> bool:
    producer = tensor.inputs[0] if tensor.inputs else None
    if producer is not None and producer.op == "Mul" and producer.name.startswith(graphs.PRUNE_PREFIX):
        tensor = producer.inputs[0]
    return tensor.name in weights


def _per_tensor(graph: gs.Graph, pair: graphs.Quantizer, low: int) -> None:
    source, scale = pair.source, pair.scale
    output = edit.take_output(pair.dequantize)
    _fake_quant(graph, source, scale, output, low)
    edit.take_output(pair.quantize)


def _per_channel(graph: gs.Graph, pair: graphs.Quantizer, low: int) -> None:
    source, scale, rank = pair.source, pair.scale, len(pair.source.shape)
    shape = [1] * rank
    shape[pair.axis % rank] = -1
    output = edit.take_output(pair.dequantize)
    name = output.name
    target = edit.integers(f"{name}.scale_shape", shape)
    broadcast = edit.insert(graph, "Reshape", [scale, target], edit.variable(f"{name}.S"))
    scaled = edit.insert(graph, "Div", [source, broadcast], edit.variable(f"{name}.scaled", source))
    rounded = edit.variable(f"{name}.rounded", source)
    _fake_quant(graph, scaled, edit.scalar(f"{name}.one", 1), rounded, low)
    edit.insert(graph, "Mul", [rounded, broadcast], output)
    edit.take_output(pair.quantize)


def _fake_quant(graph: gs.Graph, source: gs.Tensor, scale: gs.Tensor, output: gs.Tensor, low: int) -> None:
    inside = edit.variable(f"{output.name}.inside", source)
    inside.dtype = np.bool_
    node = gs.Node(
        "FakeQuant",
        output.name,
        {"quant_min": low, "quant_max": INT8_MAX},
        [source, scale, edit.scalar(f"{output.name}.zero", 0)],
        [output, inside],
        domain=edit.MICROSOFT,
    )
    graph.nodes.append(node)


LOWERING = Lowering(
    "fake quantise",
    "every Q/DQ pair, which has no gradient",
    lambda training: lower_fake_quant(training.graph, set(training.names(Role.TRAINABLE))),
)
