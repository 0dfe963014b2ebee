"""Which weighted layers are quantised: the same for every target."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.graphs import Weight
from onnxcomp.passes.base import excluded
from onnxcomp.passes.qat.placement.ends import Ends
from onnxcomp.passes.qat.placement.switches import Switches

TINY = 16
"""Channels below which integer kernels bring nothing on a GPU's tensor cores (NVIDIA's Model Optimizer leaves
convolutions with fewer alone: find_nodes_from_convs_to_exclude)."""


def decide(graph: gs.Graph, switches: Switches) -> Iterator[tuple[Weight, str]]:
    """Each weighted layer of the student, and why it stays float, or ""."""
    found, ends = list(graphs.weights(graph)), Ends(graph)
    axes: dict[str, int] = {}
    for weight in found:
        reason = _obstacle(weight, axes.setdefault(weight.name, weight.axis)) or _wish(weight, switches, ends)
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


def _wish(weight: Weight, switches: Switches, ends: Ends) -> str:
    if excluded(weight, switches.exclude):
        return "qat.exclude names it"
    if not switches.first and ends.reads_image(weight):
        return "qat.first=false"
    if not switches.last and ends.gives_logits(weight):
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
