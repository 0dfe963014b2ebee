"""Normalisations: per channel they are cut along, over channels they keep what they average."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp.passes.channels.analysis import Analysis, varying
from onnxcomp.passes.channels.rules.weighted import vector


def per_channel(analysis: Analysis, node: gs.Node) -> None:
    """BatchNormalization and InstanceNormalization: every parameter is of shape (C,)."""
    channels = analysis.channels(node.inputs[0], 1, node)
    for index in range(1, len(node.inputs)):
        vector(analysis, node, index, channels)
    analysis.write(node.outputs[0], analysis.grid(node.inputs[0]))


def over_axes(analysis: Analysis, node: gs.Node) -> None:
    """LayerNormalization, Softmax and their like: channels along the axes averaged over are kept."""
    grid = analysis.grid(node.inputs[0])
    first = int(node.attrs.get("axis", -1)) % max(grid.ndim, 1)
    last = grid.ndim if node.op == "LayerNormalization" else first + 1
    if any(first <= axis < last for axis in varying(grid)):
        analysis.keep(node.inputs[0], f"{node.op} {node.name} sums over all of them")
    for output in node.outputs[:1]:
        analysis.write(output, grid)
