"""Fake quantisation in the gradient graph by ONNX Runtime's vectorised Q/DQ kernels.

`FakeQuant` is a scalar loop. Once the gradient graph is written its nodes can be replaced:
QuantizeLinear and DequantizeLinear give the same numbers, a comparison with the range's limits gives the
mask for the gradient. Per channel, the gradient's `Mul(S) -> FakeQuantGrad -> Div(S)` becomes
FakeQuantGrad alone, which is the same but for the rounding of the product and the quotient.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, helper

from onnxcomp.training.lowering.base import GradientLowering
from onnxcomp.training.lowering.kernels import Editor, Integers, quantize


def use_integer_kernels(graph: onnx.GraphProto) -> int:
    """Replace FakeQuant nodes that have the shape :mod:`..lowering.fake_quant` writes; returns how many."""
    editor = Editor(graph)
    count = 0
    for node in graph.node:
        if node.op_type == "FakeQuant":
            count += _per_channel(editor, node) or _per_tensor(editor, node)
    editor.finish()
    return count


def _per_tensor(editor: Editor, node: NodeProto) -> bool:
    source, scale, _ = node.input
    output, inside = node.output
    if scale not in editor.shapes:
        return False
    integers = Integers.of(editor, node)
    new = quantize(editor, source, scale, output, integers)
    # Half a step beyond the last level is rounded to the nearest even one, which may be that level.
    less = "Less" if integers.above % 2 else "LessOrEqual"
    more = "Greater" if integers.below % 2 else "GreaterOrEqual"
    below, above = f"{output}.below", f"{output}.above"
    new.append(helper.make_node("Mul", [scale, editor.number(integers.above + 0.5)], [f"{above}.limit"]))
    if integers.below <= 0 and never_negative(editor, source):
        new.append(helper.make_node(less, [source, f"{above}.limit"], [inside]))
    else:
        new += [
            helper.make_node(less, [source, f"{above}.limit"], [above]),
            helper.make_node("Mul", [scale, editor.number(integers.below - 0.5)], [f"{below}.limit"]),
            helper.make_node(more, [source, f"{below}.limit"], [below]),
            helper.make_node("And", [above, below], [inside]),
        ]
    editor.replaced[output] = new
    return True


def never_negative(editor: Editor, name: str) -> bool:
    """Whether Relu computes it."""
    producer = editor.producers.get(name)
    return producer is not None and producer.op_type == "Relu"


def _per_channel(editor: Editor, node: NodeProto) -> bool:
    """Weights: the range is symmetric."""
    divide = editor.producers.get(node.input[0])
    multiply = editor.only_reader(node.output[0], "Mul")
    masking = editor.only_reader(node.output[1], "FakeQuantGrad")
    if divide is None or divide.op_type != "Div" or multiply is None or masking is None:
        return False
    back = editor.behind_identity(masking.input[0])
    last = editor.only_reader(masking.output[0], "Div")
    source, broadcast = divide.input
    reshape = editor.producers.get(broadcast)
    if (
        not back
        or back[-1].op_type != "Mul"
        or last is None
        or reshape is None
        or reshape.op_type != "Reshape"
    ):
        return False
    if not broadcast == multiply.input[1] == back[-1].input[1] == last.input[1]:
        return False
    integers = Integers.of(editor, node)
    output, inside = multiply.output[0], node.output[1]
    editor.replaced[divide.output[0]] = []
    editor.replaced[node.output[0]] = within(editor, source, broadcast, integers.above + 0.5, inside)
    editor.replaced[output] = quantize(
        editor, source, reshape.input[0], output, integers, channel_axis(editor, reshape)
    )
    for gone in [*back, masking]:
        editor.replaced[gone.output[0]] = []
    whole = NodeProto.FromString(masking.SerializeToString())
    whole.input[0], whole.output[0] = back[-1].input[0], last.output[0]
    editor.replaced[last.output[0]] = [whole]
    return True


def within(editor: Editor, source: str, broadcast: str, steps: float, inside: str) -> list[NodeProto]:
    """``inside = |source| < steps * scale``, of a scale per channel."""
    return [
        helper.make_node("Mul", [broadcast, editor.number(steps)], [f"{inside}.limit"]),
        helper.make_node("Abs", [source], [f"{inside}.size"]),
        helper.make_node("Less", [f"{inside}.size", f"{inside}.limit"], [inside]),
    ]


def channel_axis(editor: Editor, reshape: NodeProto) -> int:
    """The axis along which ``reshape`` lays a scale."""
    return int(np.flatnonzero(editor.values(reshape.input[1]) == -1)[0])


LOWERING = GradientLowering(
    "integer fake quantise",
    "FakeQuant, a loop over scalars, by the vectorised Q/DQ kernels and a comparison",
    use_integer_kernels,
)
