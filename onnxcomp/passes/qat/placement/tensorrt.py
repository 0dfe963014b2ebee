"""Placement for TensorRT 8.5 to 11: symmetric INT8, decided by what reads a tensor.

TensorRT fuses ``[DQ activation, DQ weight] -> Conv -> ... -> Q`` into an INT8 kernel, moves Q backward and DQ
forward through operators that compute nothing, and folds BatchNormalization and Relu behind a convolution by
itself, so nothing is quantised between these (Developer Guide 8.5, 7.4 and figures 6 to 9).
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.graphs import Weight
from onnxcomp.passes.qat.grid import INT8
from onnxcomp.passes.qat.placement import ends, walk
from onnxcomp.passes.qat.placement.layers import decide, is_depthwise
from onnxcomp.passes.qat.placement.sites import Left, Placement
from onnxcomp.passes.qat.placement.switches import Switches

GATES = ("Sigmoid", "HardSigmoid", "HardSwish")
FLOAT: dict[str, str] = {
    "LayerNormalization": "its sums lose too much in INT8",
    "Softmax": "its range does not suit INT8",
    "BatchNormalization": "no convolution precedes it; it stays a float scale, its gamma is never quantised",
}
"""Operators that stay float, and why."""


def place(graph: gs.Graph, switches: Switches) -> Placement:
    """Decide for every operator of the student; the graph is not changed."""
    found = Placement(INT8, notes=list(ends.unmatched(graph, switches)))
    for weight, reason in decide(graph, switches):
        reason = reason or _no_kernel(weight)
        if reason:
            found.left.append(Left(weight.node.name, weight.node.op, reason))
        else:
            found.layers.append(weight)
            found.quantize(weight.node.inputs[0], [weight.node], "inputs of layers")
    _concats(graph, found, switches)
    if switches.residual:
        _residuals(graph, found)
    if switches.pre_activation:
        _pre_activations(graph, found)
    if switches.pooling:
        _pools(graph, found)
    quantized = {id(node) for site in found.sites.values() for node in site.readers}
    for node in graph.nodes:
        stays = node.op in FLOAT and (node.op != "BatchNormalization" or walk.is_standalone(node))
        if stays and graphs.is_student(node) and id(node) not in quantized:
            found.left.append(Left(node.name, node.op, FLOAT[node.op]))
    return found


def _no_kernel(weight: Weight) -> str:
    """TensorRT issue 3385: no INT8 kernel for a depthwise convolution fused with a general activation."""
    if not is_depthwise(weight):
        return ""
    tensor = weight.node.outputs[0]
    for reader in walk.readers(tensor):
        if reader.op == "BatchNormalization":
            tensor = reader.outputs[0]
    gates = [reader.op for reader in walk.readers(tensor) if reader.op in GATES]
    return f"TensorRT has no INT8 kernel for a depthwise convolution with {gates[0]}" if gates else ""


def _concats(graph: gs.Graph, found: Placement, switches: Switches) -> None:
    """Inputs of Concats, so that what grows stays INT8; with one scale nothing is requantised."""
    if switches.concat == "none":
        return
    for node in graph.nodes:
        if not graphs.is_student(node) or not walk.joins_channels(node):
            continue
        for tensor in node.inputs:
            before = walk.producer(tensor)
            if before is None or not walk.joins_channels(before):  # else its parts are quantised already
                others = [r for r in walk.readers(tensor) if r.op == "Concat" or walk.is_standalone(r)]
                found.quantize(tensor, others, "inputs of Concat")
        if switches.concat == "shared":
            found.tie(tensor.name for tensor in [*node.inputs, *node.outputs])


def _residuals(graph: gs.Graph, found: Placement) -> None:
    """The identity input of an Add, so that the other one's convolution and the Add become one INT8 kernel.

    Where both come from convolutions, all but the one with the longest way.
    """
    layers = {id(weight.node) for weight in found.layers}
    depths = walk.depths(graph)
    for node in graph.nodes:
        if not graphs.is_student(node) or not walk.is_sum(node):
            continue
        branches = [tensor for tensor in node.inputs if walk.from_convolution(tensor, layers)]
        if branches:
            fused = max(branches, key=lambda tensor: depths.get(tensor.name, 0))
            other = next((tensor for tensor in node.inputs if tensor is not fused), None)
            if other is not None:
                found.quantize(other, [node], "identity inputs of residual Add")


def _pre_activations(graph: gs.Graph, found: Placement) -> None:
    """The input of a BatchNormalization that cannot be folded (NVIDIA's BNQDQCase for ResNet-v2)."""
    for node in graph.nodes:
        if graphs.is_student(node) and walk.is_standalone(node):
            tensor = node.inputs[0]
            before = walk.producer(tensor)
            if before is None or not walk.joins_channels(before) or not found.reads(before):
                found.quantize(tensor, [node], "inputs of standalone BatchNormalization")


def _pools(graph: gs.Graph, found: Placement) -> None:
    """Average pooling whose output is quantised gets a quantised input: both sides or neither."""
    for node in reversed(graph.nodes):  # pooling may read pooling
        if graphs.is_student(node) and walk.is_average(node) and _is_quantized(node.outputs[0], found):
            found.quantize(node.inputs[0], [node], "inputs of average pooling")


def _is_quantized(tensor: gs.Tensor, found: Placement) -> bool:
    """Whether all that reads ``tensor``, through operators that compute nothing, reads it quantised."""
    site = found.sites.get(tensor.name)
    covered = {id(node) for node in site.readers} if site else set()
    rest = [node for node in walk.readers(tensor) if id(node) not in covered]
    return bool(covered or rest) and all(
        node.op in walk.PASSED and _is_quantized(node.outputs[0], found) for node in rest
    )
