"""Nodes of a gradient graph and how one is replaced by others: fake quantisation by Q/DQ kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from onnxcomp.training.lowering.edit import PREFIX


class Editor:
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
        self.outputs = {entry.name for entry in graph.output}
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.replaced: dict[str, list[NodeProto]] = {}  # by the first output of the node that goes

    def constant(self, name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
        """The name of a constant; one of the same ``name`` must have the same values."""
        name = PREFIX + name
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(values, name)
            self.graph.initializer.append(self.constants[name])
        return name

    def values(self, name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        """Those of a constant."""
        return numpy_helper.to_array(self.constants[name])

    def number(self, value: float) -> str:
        """A float32 scalar."""
        return self.constant(f"number.{value:g}", np.array(value, np.float32))

    def only_reader(self, name: str, op: str) -> NodeProto | None:
        """The node of kind ``op`` that alone reads ``name``."""
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
        """Write the changes into the graph."""
        nodes: list[NodeProto] = []
        for node in self.graph.node:
            nodes += self.replaced.get(node.output[0], [node])
        kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self.graph.node[:]
        self.graph.node.extend(kept)


@dataclass(frozen=True)
class Integers:
    """What a FakeQuant node rounds to.

    Attributes:
        low, high: smallest and largest integer.
        zero: zero point.
    """

    low: int
    high: int
    zero: int

    @classmethod
    def of(cls, editor: Editor, node: NodeProto) -> Integers:
        limits = {a.name: int(a.i) for a in node.attribute}
        zero = int(editor.values(node.input[2]).item())
        return cls(limits["quant_min"], limits["quant_max"], zero)

    @property
    def dtype(self) -> type[np.int8] | type[np.uint8]:
        return np.uint8 if self.low == 0 else np.int8

    @property
    def below(self) -> int:
        """Lowest level: the smallest integer, counted from the zero point."""
        return self.low - self.zero

    @property
    def above(self) -> int:
        """Highest level."""
        return self.high - self.zero


def quantize(
    editor: Editor, source: str, scale: str, output: str, integers: Integers, axis: int | None = None
) -> list[NodeProto]:
    """``source`` -> QuantizeLinear -> DequantizeLinear -> ``output``, clamped where the type is wider."""
    shape, dtype = editor.shapes[scale], integers.dtype
    kind = np.dtype(dtype).name
    stem = ".".join([f"zero_point.{kind}.{integers.zero}", *map(str, shape)])
    parameters = [scale, editor.constant(stem, np.full(shape, integers.zero, dtype))]
    levels = f"{output}.levels"
    nodes = [helper.make_node("QuantizeLinear", [source, *parameters], [levels])]
    limits = np.iinfo(dtype)
    if (integers.low, integers.high) != (limits.min, limits.max):
        ends = (integers.low, integers.high)
        names = [editor.constant(f"{kind}.{end}", np.array(end, dtype)) for end in ends]
        nodes.append(helper.make_node("Clip", [levels, *names], [f"{levels}.clamped"]))
        levels = f"{levels}.clamped"
    nodes.append(helper.make_node("DequantizeLinear", [levels, *parameters], [output]))
    if axis is not None:
        for node in (nodes[0], nodes[-1]):
            node.attribute.append(helper.make_attribute("axis", axis))
    return nodes
