"""Scales that train with the network (LSQ: Esser et al. 2020, arXiv 1902.08153).

In the training form ``Div(s) -> FakeQuant(scale 1) -> Mul(s)`` lets gradients reach the scale. Weights have
that form already, their scales being per channel; activations get it once the layout is settled: until then
a FakeQuant node is one of many elementwise operators.

In the gradient graph each pair becomes Q/DQ kernels and the paper's formulas. With ``q`` the value after
quantisation and ``inside = -Q_N < v / s < Q_P``,

    dL/dv = inside dL/dq                                                    (eq. 5)
    dL/ds = sum dL/dq (q - inside v) / s                                    (eq. 3)

because ``q / s`` is the rounded value inside, and ``-Q_N`` or ``Q_P`` outside. FakeQuant alone would count
what rounds to the last level as inside.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import NodeProto, helper

from onnxcomp.model import Role
from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import GradientLowering, Lowering
from onnxcomp.training.lowering.fake_quant import in_steps
from onnxcomp.training.lowering.integer_kernels import channel_axis, never_negative, within
from onnxcomp.training.lowering.kernels import Editor, Integers, quantize
from onnxcomp.training.lowering.views import GRADIENT_SUFFIX


def lower_learned_scales(graph: gs.Graph, scales: Collection[str]) -> int:
    """Rewrite the FakeQuant nodes with one of ``scales``; returns how many."""
    found = [node for node in graph.nodes if node.op == "FakeQuant" and node.inputs[1].name in scales]
    for node in found:
        source, scale, zero = node.inputs
        low, high = node.attrs["quant_min"], node.attrs["quant_max"]
        in_steps(graph, source, scale, int(zero.values), edit.take_output(node), low, high)
    if found:
        edit.settle(graph)
    return len(found)


@dataclass(frozen=True)
class _Pair:
    """A pair whose scale learns, as ONNX Runtime has differentiated it.

    Attributes:
        scale: name of the parameter.
        axis: of the channels; None where one scale is for all.
        divide, rounding, multiply: forward.
        gradient: of the result.
        last: the DivGrad node, behind which the gradients of source and scale are known.
    """

    scale: str
    axis: int | None
    divide: NodeProto
    rounding: NodeProto
    multiply: NodeProto
    gradient: str
    last: NodeProto

    @property
    def source(self) -> str:
        return str(self.divide.input[0])

    @property
    def broadcast(self) -> str:
        """The scale in the shape that it is multiplied with."""
        return str(self.divide.input[1])

    @property
    def output(self) -> str:
        return str(self.multiply.output[0])


def use_paper_gradients(graph: onnx.GraphProto) -> int:
    """Replace the pairs whose scale has a gradient; returns how many."""
    editor = Editor(graph)
    rounding = [node for node in graph.node if node.op_type == "FakeQuant"]
    pairs = [pair for node in rounding if (pair := _pair(editor, node)) is not None]
    parts: dict[str, list[str]] = {}
    for pair in pairs:
        integers = Integers.of(editor, pair.rounding)
        parts.setdefault(pair.scale, []).append(_backward(editor, pair))
        _forward(editor, pair, integers)
    for scale, names in parts.items():
        _sum(editor, scale, names)
    if pairs:
        editor.finish()
        _drop_unread(graph)
    return len(pairs)


def _pair(editor: Editor, node: NodeProto) -> _Pair | None:
    divide, mask = editor.producers.get(node.input[0]), node.output[1]
    if divide is None or divide.op_type != "Div":
        return None
    reshape = editor.producers.get(divide.input[1])
    per_channel = reshape is not None and reshape.op_type == "Reshape"
    scale = reshape.input[0] if reshape is not None and per_channel else divide.input[1]
    masking = editor.only_reader(mask, "FakeQuantGrad")
    if scale + GRADIENT_SUFFIX not in editor.outputs or masking is None:
        return None
    last = editor.only_reader(masking.output[0], "DivGrad")
    scaled = editor.producers[masking.input[0]]
    while scaled.op_type == "Identity":
        scaled = editor.producers[scaled.input[0]]
    multiply = next(one for one in editor.readers[node.output[0]] if one.input[0] == node.output[0])
    if last is None or scaled.op_type != "Mul" or multiply.input[1] != divide.input[1]:
        return None
    axis = channel_axis(editor, reshape) if reshape is not None and per_channel else None
    return _Pair(scale, axis, divide, node, multiply, scaled.input[0], last)


def _forward(editor: Editor, pair: _Pair, integers: Integers) -> None:
    mask = pair.rounding.output[1]
    if pair.axis is not None:
        checks = within(editor, pair.source, pair.broadcast, integers.above, mask)
    else:
        checks = _strictly_inside(editor, pair, integers)
    editor.replaced[pair.divide.output[0]] = []
    editor.replaced[pair.rounding.output[0]] = checks
    editor.replaced[pair.output] = quantize(editor, pair.source, pair.scale, pair.output, integers, pair.axis)


def _strictly_inside(editor: Editor, pair: _Pair, integers: Integers) -> list[NodeProto]:
    mask, source = pair.rounding.output[1], pair.source
    below, above = f"{mask}.below", f"{mask}.above"
    limit = helper.make_node("Mul", [pair.scale, editor.number(integers.above)], [f"{above}.limit"])
    # At 0 both gradients are 0 whether it counts as inside or not, because Relu's is.
    if integers.below <= 0 and never_negative(editor, source):
        return [limit, helper.make_node("Less", [source, f"{above}.limit"], [mask])]
    return [
        limit,
        helper.make_node("Less", [source, f"{above}.limit"], [above]),
        helper.make_node("Mul", [pair.scale, editor.number(integers.below)], [f"{below}.limit"]),
        helper.make_node("Greater", [source, f"{below}.limit"], [below]),
        helper.make_node("And", [above, below], [mask]),
    ]


def _backward(editor: Editor, pair: _Pair) -> str:
    """Write the gradients behind a pair; returns the name of its part of the scale's, times the scale."""
    mask, wanted = pair.rounding.output[1], pair.last.output[0]
    stem = f"{pair.output}.step"
    rank = 0 if pair.axis is None else len(editor.values(editor.producers[pair.broadcast].input[1]))
    others = [axis for axis in range(rank) if axis != pair.axis]
    axes = (
        [editor.constant(f"axes.{'.'.join(map(str, others))}", np.array(others, np.int64))] if others else []
    )
    nodes = [
        helper.make_node("FakeQuantGrad", [pair.source, mask], [f"{stem}.kept"], domain=edit.MICROSOFT),
        helper.make_node("Sub", [pair.output, f"{stem}.kept"], [f"{stem}.change"]),
        helper.make_node("Mul", [pair.gradient, f"{stem}.change"], [f"{stem}.product"]),
        helper.make_node("ReduceSum", [f"{stem}.product", *axes], [f"{stem}.part"], keepdims=0),
    ]
    if wanted in editor.readers or wanted in editor.outputs:
        moved = helper.make_node("FakeQuantGrad", [pair.gradient, mask], [wanted], domain=edit.MICROSOFT)
        nodes.insert(0, moved)
    editor.replaced[wanted] = nodes
    return f"{stem}.part"


def _sum(editor: Editor, scale: str, parts: list[str]) -> None:
    """The gradient of a scale that the pairs of ``parts`` share, in place of ONNX Runtime's."""
    gradient = scale + GRADIENT_SUFFIX
    total = parts[0]
    nodes = []
    if len(parts) > 1:
        total = f"{gradient}.total"
        nodes.append(helper.make_node("Sum", parts, [total]))
    nodes.append(helper.make_node("Div", [total, scale], [gradient]))
    editor.replaced[editor.producers[gradient].output[0]] = nodes


def _drop_unread(graph: onnx.GraphProto) -> None:
    """What led to the gradients that were replaced."""
    read = {entry.name for entry in graph.output}
    kept = []
    for node in reversed(graph.node):
        if not read.isdisjoint(node.output):
            read.update(node.input)
            kept.append(NodeProto.FromString(node.SerializeToString()))
    del graph.node[:]
    graph.node.extend(reversed(kept))


LOWERING = Lowering(
    "learned scales",
    "fake quantisation of activations whose scale has a gradient",
    lambda training: lower_learned_scales(training.graph, set(training.names(Role.LEARNED_SCALE))),
)
GRADIENTS = GradientLowering(
    "gradients of scales",
    "fake quantisation whose scale learns: the formulas of LSQ, with Q/DQ kernels and comparisons",
    use_paper_gradients,
)
