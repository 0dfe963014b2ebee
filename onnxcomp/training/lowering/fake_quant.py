"""QuantizeLinear/DequantizeLinear pairs become fake quantisation with a straight-through gradient.

Q/DQ has no gradient in ONNX Runtime. `com.microsoft::FakeQuant` gives the same numbers and passes the
gradient where the rounded value lies within the range (as `torch.fake_quantize` does), but takes one
scale only. Per channel, `Div(S) -> FakeQuant(scale 1) -> Mul(S)` does the same.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.model import Role
from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import Lowering


def lower_fake_quant(graph: gs.Graph, weights: Collection[str], levels: int = 127) -> int:
    """Replace every Q/DQ pair; returns how many.

    Args:
        weights: names of the trainable tensors. Quantised weights are the integers ``-levels..levels``;
            all other tensors use those of their zero point's type.
    """
    pairs = list(graphs.quantizers(graph))
    for pair in pairs:
        zero, low, high = _integers(pair)
        if _is_weight(pair.source, weights):
            low, high = -levels, levels
        if pair.per_channel:
            _per_channel(graph, pair, low, high)
        else:
            fake_quant(graph, pair.source, pair.scale, zero, edit.take_output(pair.dequantize), low, high)
        edit.take_output(pair.quantize)
    if pairs:
        edit.use_microsoft(graph)
        edit.settle(graph)
    return len(pairs)


def _integers(pair: graphs.Quantizer) -> tuple[int, int, int]:
    """Zero point, smallest and largest integer; scales per channel have a zero point of 0."""
    zero = pair.quantize.inputs[2].values
    limits = np.iinfo(zero.dtype)
    return int(zero.flat[0]), int(limits.min), int(limits.max)


def _is_weight(tensor: gs.Tensor, weights: Collection[str]) -> bool:
    producer = tensor.inputs[0] if tensor.inputs else None
    if producer is not None and producer.op == "Mul" and producer.name.startswith(graphs.PRUNE_PREFIX):
        tensor = producer.inputs[0]
    return tensor.name in weights


def _per_channel(graph: gs.Graph, pair: graphs.Quantizer, low: int, high: int) -> None:
    source, scale, rank = pair.source, pair.scale, len(pair.source.shape)
    shape = [1] * rank
    shape[pair.axis % rank] = -1
    output = edit.take_output(pair.dequantize)
    target = edit.integers(f"{output.name}.scale_shape", shape)
    broadcast = edit.insert(graph, "Reshape", [scale, target], edit.variable(f"{output.name}.S"))
    in_steps(graph, source, broadcast, 0, output, low, high)


def in_steps(
    graph: gs.Graph, source: gs.Tensor, scale: gs.Tensor, zero: int, output: gs.Tensor, low: int, high: int
) -> None:
    """``source / scale``, rounded in steps of 1, times ``scale``."""
    name = output.name
    scaled = edit.insert(graph, "Div", [source, scale], edit.variable(f"{name}.scaled", source))
    rounded = edit.variable(f"{name}.rounded", source)
    fake_quant(graph, scaled, edit.scalar(f"{name}.one", 1), zero, rounded, low, high)
    edit.insert(graph, "Mul", [rounded, scale], output)


def fake_quant(
    graph: gs.Graph, source: gs.Tensor, scale: gs.Tensor, zero: int, output: gs.Tensor, low: int, high: int
) -> None:
    """Append a FakeQuant node to the integers ``low..high``."""
    inside = edit.variable(f"{output.name}.inside", source)
    inside.dtype = np.bool_
    node = gs.Node(
        "FakeQuant",
        output.name,
        {"quant_min": low, "quant_max": high},
        [source, scale, edit.scalar(f"{output.name}.zero", zero)],
        [output, inside],
        domain=edit.MICROSOFT,
    )
    graph.nodes.append(node)


LOWERING = Lowering(
    "fake quantise",
    "every Q/DQ pair, which has no gradient",
    lambda training: lower_fake_quant(training.graph, set(training.names(Role.TRAINABLE)), training.levels),
)
