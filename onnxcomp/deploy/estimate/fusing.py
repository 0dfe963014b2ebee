"""Which nodes TensorRT runs as one layer.

"Types of fusions" and "Q/DQ layer-placement" of the Developer Guide (8.5, 7.4 and 13.3): a convolution takes
the BatchNormalization, activation and addition behind it where nothing else reads what lies between;
elementwise operators in a row become one kernel; QuantizeLinear and DequantizeLinear go into their
neighbours; reshapes cost nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_graphsurgeon as gs

from onnxcomp.deploy.dla.propagate import is_float
from onnxcomp.deploy.lint import pairs
from onnxcomp.deploy.lint.network import Network, name_of, producer

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
POOLS = ("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMax", "ReduceMean")
POINTWISE = (
    *("Abs", "Add", "BatchNormalization", "Cast", "Clip", "Div", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid"),
    *("HardSwish", "LeakyRelu", "Max", "Min", "Mish", "Mul", "Neg", "PRelu", "Pow", "Reciprocal", "Relu"),
    *("Selu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Tanh"),
)
ACTIVATIONS = ("Clip", "LeakyRelu", "Relu", "Sigmoid", "Tanh")
FREE = ("Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze")
BORDERS = (pairs.QUANTIZE, pairs.DEQUANTIZE)
KINDS = {
    **dict.fromkeys(("Conv", "ConvTranspose"), "convolution"),
    **dict.fromkeys(("Gemm", "MatMul"), "product"),
    **dict.fromkeys(POOLS, "pooling"),
    **dict.fromkeys(POINTWISE, "pointwise"),
    "Concat": "concat",
}


@dataclass
class Fused:
    """Nodes that run as one layer.

    Attributes:
        kind: of the work: convolution, product, pointwise, pooling, concat or other.
        nodes: in the order in which they compute.
    """

    kind: str
    nodes: list[gs.Node] = field(default_factory=list)

    @property
    def name(self) -> str:
        return " + ".join(name_of(node) for node in self.nodes)

    @property
    def output(self) -> gs.Tensor:
        return self.nodes[-1].outputs[0]

    def inputs(self) -> list[gs.Tensor]:
        """What it reads that it does not compute, constants left out; where several nodes do, once."""
        own = {id(tensor) for node in self.nodes for tensor in node.outputs}
        read = [tensor for node in self.nodes for tensor in node.inputs if not tensor.is_empty()]
        outside = [tensor for tensor in read if id(tensor) not in own and not pairs.is_constant(tensor)]
        return list({id(tensor): tensor for tensor in outside}.values())


def fuse(network: Network) -> list[Fused]:
    """The layers of a network, in the order of their last nodes."""
    groups: dict[int, Fused] = {}  # by the id of the node that ends each so far
    found: list[Fused] = []
    for node in network.graph.nodes:
        if node.op in (*FREE, *BORDERS) or not node.outputs or all(map(pairs.is_constant, node.inputs)):
            continue
        if not is_float(node.outputs[0]):  # TensorRT computes shapes before it runs
            continue
        group = _joined(network, node, groups)
        if group is None:
            group = Fused(KINDS.get(node.op, "other"))
            found.append(group)
        group.nodes.append(node)
        groups[id(node)] = group
    position = {id(node): index for index, node in enumerate(network.graph.nodes)}
    return sorted(found, key=lambda each: position[id(each.nodes[-1])])


def _joined(network: Network, node: gs.Node, groups: dict[int, Fused]) -> Fused | None:
    """The group before ``node`` that takes it in."""
    if node.op not in POINTWISE:
        return None
    candidates = []
    for tensor in node.inputs:
        before = producer(tensor)
        group = None if before is None else groups.get(id(before))
        if group is None or group.nodes[-1] is not before:
            continue
        if len(tensor.outputs) != 1 or network.is_output(tensor):  # it must be kept for others
            continue
        if group.kind in ("convolution", "product") and _suits(group, node):
            candidates.append((0, group))
        elif group.kind == "pointwise":
            candidates.append((1, group))
    return min(candidates, key=lambda each: each[0])[1] if candidates else None


def _suits(group: Fused, node: gs.Node) -> bool:
    """Whether a convolution's kernel does this too: one addition and one activation at its end."""
    ops = [each.op for each in group.nodes]
    if ops[-1] in ACTIVATIONS:
        return False
    if node.op == "BatchNormalization":
        return ops[-1] in PRODUCTS
    if node.op == "Add":
        return "Add" not in ops or all(map(pairs.is_constant, node.inputs[1:]))
    return node.op in ACTIVATIONS
