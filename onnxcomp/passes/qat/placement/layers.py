"""Which weighted layers are quantised: the same for every target."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.graphs import Weight
from onnxcomp.passes.base import excluded
from onnxcomp.passes.qat.placement import walk
from onnxcomp.passes.qat.placement.switches import Switches

TINY = 16
"""Channels below which integer kernels bring nothing on a GPU's tensor cores (NVIDIA's Model Optimizer leaves
convolutions with fewer alone: find_nodes_from_convs_to_exclude)."""


def decide(graph: gs.Graph, switches: Switches) -> Iterator[tuple[Weight, str]]:
    """Each weighted layer of the student, and why it stays float, or ""."""
    found = list(graphs.weights(graph))
    axes: dict[str, int] = {}
    for weight in found:
        reason = _obstacle(weight, axes.setdefault(weight.name, weight.axis)) or _wish(
            graph, weight, switches
        )
        yield weight, reason


def _obstacle(weight: Weight, axis: int) -> str:
    """Why there is no integer kernel for a weight scaled along ``axis``, or ""."""
    if weight.index == 0:
        return "its weight is the first input"
    if weight.node.op == "MatMul" and len(weight.tensor.shape) != 2:
        return f"its weight has {len(weight.tensor.shape)} axes"
    if weight.axis != axis:
        return f"another node uses its weight {weight.name} transposed"
    return ""


def _wish(graph: gs.Graph, weight: Weight, switches: Switches) -> str:
    if excluded(weight, switches.exclude):
        return "qat.exclude names it"
    if not switches.first and _reads_image(graph, weight.node):
        return "qat.first=false"
    if not switches.last and _gives_logits(graph, weight.node):
        return "qat.last=false"
    if not switches.depthwise and is_depthwise(weight):
        return "qat.depthwise=false"
    if not switches.tiny and weight.node.op == "Conv" and min(_channels(weight)) < TINY:
        return f"qat.tiny=false: fewer than {TINY} channels"
    return ""


def is_depthwise(weight: Weight) -> bool:
    """Whether each group of a convolution has one input channel."""
    group = int(weight.node.attrs.get("group", 1))
    return weight.node.op == "Conv" and group > 1 and weight.tensor.shape[1] == 1


def _channels(weight: Weight) -> tuple[int, int]:
    outputs, per_group = weight.tensor.shape[:2]
    return int(per_group) * int(weight.node.attrs.get("group", 1)), int(outputs)


def _reads_image(graph: gs.Graph, node: gs.Node) -> bool:
    """Whether the data input is the image, but for a change of shape."""
    tensor = node.inputs[0]
    while tensor.inputs and tensor.inputs[0].op in walk.PASSED:
        tensor = tensor.inputs[0].inputs[0]
    return any(tensor is image for image in graph.inputs)


BEHIND = ("Add", "Flatten", "Reshape", "Identity", "Squeeze")
"""A bias and changes of shape."""


def _gives_logits(graph: gs.Graph, node: gs.Node) -> bool:
    """Whether a graph output is the node's, but for a bias and a change of shape."""
    tensor = node.outputs[0]
    while not any(tensor is output for output in graph.outputs):
        readers = [reader for reader in tensor.outputs if graphs.is_student(reader)]
        if len(readers) != 1 or readers[0].op not in BEHIND:
            return False
        tensor = readers[0].outputs[0]
    return True
