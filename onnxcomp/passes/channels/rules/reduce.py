"""Pooling and reductions over positions."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.passes.channels.analysis import Analysis, varying


def pool(analysis: Analysis, node: gs.Node) -> None:
    """Pools over every axis from the third on."""
    grid = analysis.grid(node.inputs[0])
    if any(axis > 1 for axis in varying(grid)):
        analysis.keep(node.inputs[0], f"{node.op} {node.name} pools over them")
        return
    analysis.write(node.outputs[0], grid)


def reduce(analysis: Analysis, node: gs.Node) -> None:
    """ReduceMean and its like; a reduction over channels keeps them."""
    tensor = node.inputs[0]
    grid = analysis.grid(tensor)
    axes = _axes(node, grid.ndim)
    if axes is None or any(axis in axes for axis in varying(grid)):
        analysis.keep(tensor, f"{node.op} {node.name} sums over all of them")
        return
    if not node.attrs.get("keepdims", 1):
        grid = np.squeeze(grid, tuple(axes))
    analysis.write(node.outputs[0], grid)


def _axes(node: gs.Node, rank: int) -> list[int] | None:
    """The reduced axes; None where they are computed."""
    axes = node.attrs.get("axes")
    if axes is None and len(node.inputs) > 1 and not node.inputs[1].is_empty():
        if not isinstance(node.inputs[1], gs.Constant):
            return None
        axes = node.inputs[1].values.reshape(-1).tolist()
    if not axes:
        return [] if node.attrs.get("noop_with_empty_axes", 0) else list(range(rank))
    return [int(axis) % rank for axis in axes]
