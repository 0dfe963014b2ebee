"""Fake quantisation in the gradient graph by ONNX Runtime's vectorised Q/DQ kernels.

`FakeQuant` is a scalar loop. Once the gradient graph is written its nodes can be replaced:
QuantizeLinear and DequantizeLinear give the same numbers, a comparison with the range's limits gives the
mask for the gradient. Per channel, the gradient's `Mul(S) -> FakeQuantGrad -> Div(S)` becomes
FakeQuantGrad alone, which is the same but for the rounding of the product and the quotient.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from onnxcomp.training.lowering.base import GradientLowering
from onnxcomp.training.lowering.edit import PREFIX


class _Editor:
    """The nodes of a graph by what they read and write, and the changes so far."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.producers = {name: node for node in graph.node for name in node.output if name}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.shapes = {
            entry.name: tuple(d.dim_value for d in entry.type.tensor_type.shape.dim) for entry in graph.input
        }
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.replaced: dict[str, list[NodeProto]] = {}  # by the first output of the node that goes

    def constant(self, name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        name = PREFIX + name
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(values, name)
            self.graph.initializer.append(self.constants[name])
        return name

    def only_reader(self, name: str, op: str) -> NodeProto | None:
        nodes = self.readers.get(name, [])
        return nodes[0] if len(nodes) == 1 and nodes[0].op_type == op else None

    def behind_identity(self, name: str) -> list[NodeProto]:
        """The producer of ``name``, last, after the Identity nodes in between that nobody else reads."""
        found: list[NodeProto] = []
        while name in self.producers and len(self.readers[name]) == 1:
            found.append(self.producers[name])
            if found[-1].op_type != "Identity":
                return found
            name = found[-1].input[0]
        return []

    def finish(self) -> None:
        nodes: list[NodeProto] = []
        for node in self.graph.node:
            nodes += self.replaced.get(node.output[0], [node])
        kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self.graph.node[:]
        self.graph.node.extend(kept)


def use_integer_kernels(graph: onnx.GraphProto) -> int:
    """Replace FakeQuant nodes that have the shape :mod:`..lowering.fake_quant` writes; returns how many."""
    editor = _Editor(graph)
    count = 0
    for node in graph.node:
        if node.op_type == "FakeQuant":
            count += _per_channel(editor, node) or _per_tensor(editor, node)
    editor.finish()
    return count


def _per_tensor(editor: _Editor, node: NodeProto) -> bool:
    source, scale, _ = node.input
    output, inside = node.output
    low = next(a.i for a in node.attribute if a.name == "quant_min")
    if low != -128 or scale not in editor.shapes:
        return False
    below, above = f"{output}.below", f"{output}.above"
    high_limit = editor.constant("high_limit", np.array(127.5, np.float32))
    new = _quantize(editor, source, scale, output, None)
    new.append(helper.make_node("Mul", [scale, high_limit], [f"{above}.limit"]))
    producer = editor.producers.get(source)
    if producer is not None and producer.op_type == "Relu":  # never below
        new.append(helper.make_node("Less", [source, f"{above}.limit"], [inside]))
    else:
        low_limit = editor.constant("low_limit", np.array(-128.5, np.float32))
        new += [
            helper.make_node("Less", [source, f"{above}.limit"], [above]),
            helper.make_node("Mul", [scale, low_limit], [f"{below}.limit"]),
            helper.make_node("GreaterOrEqual", [source, f"{below}.limit"], [below]),
            helper.make_node("And", [above, below], [inside]),
        ]
    editor.replaced[output] = new
    return True


def _per_channel(editor: _Editor, node: NodeProto) -> bool:
    """Weights: the range is symmetric and the largest weight of a channel lies at 127."""
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
    scale, shape = reshape.input[0], numpy_helper.to_array(editor.constants[reshape.input[1]])
    output, inside = multiply.output[0], node.output[1]
    limit = editor.constant("high_limit", np.array(127.5, np.float32))
    editor.replaced[divide.output[0]] = []
    editor.replaced[node.output[0]] = [
        helper.make_node("Mul", [broadcast, limit], [f"{inside}.limit"]),
        helper.make_node("Abs", [source], [f"{inside}.size"]),
        helper.make_node("Less", [f"{inside}.size", f"{inside}.limit"], [inside]),
    ]
    axis = int(np.flatnonzero(shape == -1)[0])
    editor.replaced[output] = _quantize(editor, source, scale, output, axis)
    for gone in [*back, masking]:
        editor.replaced[gone.output[0]] = []
    whole = NodeProto.FromString(masking.SerializeToString())
    whole.input[0], whole.output[0] = back[-1].input[0], last.output[0]
    editor.replaced[last.output[0]] = [whole]
    return True


def _quantize(editor: _Editor, source: str, scale: str, output: str, axis: int | None) -> list[NodeProto]:
    shape = editor.shapes[scale]
    name = "zero_point" + "".join(f".{size}" for size in shape)
    parameters = [scale, editor.constant(name, np.zeros(shape, np.int8))]
    levels = f"{output}.levels"
    nodes = [
        helper.make_node("QuantizeLinear", [source, *parameters], [levels]),
        helper.make_node("DequantizeLinear", [levels, *parameters], [output]),
    ]
    if axis is not None:
        for node in nodes:
            node.attribute.append(helper.make_attribute("axis", axis))
    return nodes


LOWERING = GradientLowering(
    "integer fake quantise",
    "FakeQuant, a loop over scalars, by the vectorised Q/DQ kernels and a comparison",
    use_integer_kernels,
)
