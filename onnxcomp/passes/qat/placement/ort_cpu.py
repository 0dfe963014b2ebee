"""Placement for ONNX Runtime on a CPU: UINT8, every tensor between operators that have integer kernels.

ONNX Runtime computes an operator in integers only where all its inputs and its output are quantised. So
each such tensor gets one pair that all its readers share. Between a layer and the BatchNormalization, Relu or
Clip that is fused into it there is none. MatMul has a kernel that reads integers and writes floats, for the
Add of a bias behind it, and so has Gemm. A standalone BatchNormalization becomes a depthwise convolution at
`finalize`, a mean over height and width GlobalAveragePool.

Layers left float read what the integer kernel before them wrote: ONNX Runtime computes a convolution in
integers only if nothing reads its output in float. Behind a Gemm they read floats.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.passes.qat.grid import UINT8
from onnxcomp.passes.qat.placement import ends, walk
from onnxcomp.passes.qat.placement.layers import decide
from onnxcomp.passes.qat.placement.sites import Left, Placement
from onnxcomp.passes.qat.placement.switches import Switches

LAYERS = "inputs and outputs of layers"
FUSED = ("Relu", "Clip")
FUSING = ("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "Add")
"""What may be followed by one of these within one kernel."""
FLOAT_OUTPUT = ("MatMul",)
"""Integer kernels that always write floats; that of Gemm can."""
FLOAT: dict[str, str] = {
    "LayerNormalization": "ONNX Runtime has no integer kernel for it",
    "Softmax": "its range does not suit INT8",
    "Gelu": "ONNX Runtime has no integer kernel for it",
    "HardSwish": "ONNX Runtime has no integer kernel for it",
    "HardSigmoid": "ONNX Runtime has no integer kernel for it",
}
"""Operators that stay float, and why."""


def place(graph: gs.Graph, switches: Switches) -> Placement:
    """Decide for every operator of the student; the graph is not changed."""
    found = Placement(UINT8, notes=list(ends.unmatched(graph, switches)))
    integer: dict[int, str] = {}
    for weight, reason in decide(graph, switches):
        if reason:
            found.left.append(Left(weight.node.name, weight.node.op, reason))
        else:
            found.layers.append(weight)
            integer[id(weight.node)] = LAYERS
    layers = set(integer)
    for node in graph.nodes:
        if graphs.is_student(node) and id(node) not in integer:
            kind = _kind(node, switches, layers)
            if kind:
                integer[id(node)] = kind
            elif node.op in FLOAT:
                found.left.append(Left(node.name, node.op, FLOAT[node.op]))
    _pass_on(graph, integer)
    for tensor in _tensors(graph):
        _site(graph, tensor, integer, found)
    _ties(graph, integer, found, switches)
    return found


def _kind(node: gs.Node, switches: Switches, layers: set[int]) -> str:
    """What ONNX Runtime computes in integers besides layers, or ""."""
    if walk.is_standalone(node) and len(node.inputs[0].shape or ()) == 4:
        return "inputs and outputs of standalone BatchNormalization"
    sums = switches.residual and walk.is_sum(node)
    if sums and any(walk.from_convolution(tensor, layers) for tensor in node.inputs):
        return "inputs and outputs of residual Add"
    if switches.pooling and walk.is_average(node):
        return "inputs and outputs of average pooling"
    if switches.concat != "none" and walk.joins_channels(node):
        return "inputs and outputs of Concat"
    return ""


def _pass_on(graph: gs.Graph, integer: dict[int, str]) -> None:
    """Operators that compute nothing are integer where what they read or what reads them is."""
    for node in graph.nodes:
        if not graphs.is_student(node) or node.op not in walk.PASSED:
            continue
        before = _computing(node.inputs[0])
        if before is not None and id(before) in integer:
            integer[id(node)] = "tensors that are moved"


def _computing(tensor: gs.Tensor) -> gs.Node | None:
    """The node behind what is fused into it."""
    node = walk.producer(tensor)
    while node is not None and _is_fused(node):
        node = walk.producer(node.inputs[0])
    return node


def _is_fused(node: gs.Node) -> bool:
    """Whether ``node`` is computed by the kernel of the node before it."""
    source = node.inputs[0] if node.inputs else None
    if source is None or len(walk.readers(source)) != 1:
        return False
    if node.op == "BatchNormalization":
        return not walk.is_standalone(node)
    before = walk.producer(source)
    return node.op in FUSED and before is not None and before.op in FUSING


def _tensors(graph: gs.Graph) -> list[gs.Tensor]:
    """Activations that are not inside a fused kernel, in the order of the graph."""
    found: list[gs.Tensor] = [tensor for tensor in graph.inputs if tensor.outputs]
    for node in graph.nodes:
        if graphs.is_student(node) and graphs.mask_of(node) is None:
            found += node.outputs
    return [tensor for tensor in found if not any(_is_fused(reader) for reader in walk.readers(tensor))]


def _site(graph: gs.Graph, tensor: gs.Tensor, integer: dict[int, str], found: Placement) -> None:
    """A pair where an integer kernel reads or writes ``tensor``; the logits stay float."""
    readers = walk.readers(tensor)
    if not readers or tensor.dtype != np.float32 or any(tensor is output for output in graph.outputs):
        return
    before = _computing(tensor)
    reading = [node for node in readers if id(node) in integer]
    floats = FLOAT_OUTPUT if reading else (*FLOAT_OUTPUT, "Gemm")
    written = before is not None and id(before) in integer and before.op not in floats
    if reading or written:
        kind = integer[id(reading[0])] if reading else integer[id(before)]
        found.quantize(tensor, readers if written else reading, kind)


def _ties(graph: gs.Graph, integer: dict[int, str], found: Placement, switches: Switches) -> None:
    """What is only moved keeps its scale; so do the parts of a Concat where one scale is shared."""
    for node in graph.nodes:
        joined = node.op == "Concat" and switches.concat == "shared"
        if id(node) in integer and (node.op in walk.PASSED or joined):
            around = [tensor.name for tensor in (*node.inputs, *node.outputs) if tensor.name in found.sites]
            if around:
                found.tie(around)
