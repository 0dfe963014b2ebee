"""Remove channels from a network: weights, shapes and what nodes say about either."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.channels.analysis import varying
from onnxcomp.passes.channels.dependencies import Dependencies
from onnxcomp.passes.channels.edits import EDITS, Edit


def cut(model: Model, dependencies: Dependencies, gone: Collection[int]) -> None:
    """Remove the channels numbered ``gone`` from ``model``, in place; roles and names stay.

    The result gives the logits of the same network with those channels zeroed, which means with the
    weights that make them and the weights that read them set to 0.

    Args:
        dependencies: of ``model.graph`` as it is now.
        gone: numbers from the groups of ``dependencies``.

    Raises:
        ValueError: a number is not one that can go, or a tensor would lose all of its channels.
    """
    allowed = {int(number) for group in dependencies.groups for number in group.ids}
    if not allowed.issuperset(gone):
        raise ValueError(f"{sorted(set(gone) - allowed)[:5]} are not channels that can go")
    keep = dependencies.kept(gone)
    if any(not keep[numbers].any() for numbers in dependencies.spans()):
        raise ValueError("a tensor would lose all of its channels")
    graph = model.graph
    edit = Edit(graph, dependencies, keep, set(graph.tensors()))
    for node in list(graph.nodes):
        if node.op in EDITS and graphs.is_student(node):
            EDITS[node.op](edit, node)
    _cut_constants(graph, dependencies, keep)
    _cut_shapes(graph, dependencies, keep)
    _clean(model)


def _clean(model: Model) -> None:
    """Remove what computed shapes that are constants now; loss terms stay, which nothing reads yet."""
    graph, outputs = model.graph, list(model.graph.outputs)
    terms = [tensor for name, tensor in graph.tensors().items() if name in model.losses]
    graph.outputs = [*outputs, *(term for term in terms if not any(term is other for other in outputs))]
    graph.cleanup(remove_unused_graph_inputs=False).toposort()
    graph.outputs = outputs


def _cut_constants(graph: gs.Graph, dependencies: Dependencies, keep: np.ndarray) -> None:
    tensors = graph.tensors()
    for name, axes in dependencies.constants.items():
        values = tensors[name].values
        for axis, numbers in axes.items():
            if not keep[numbers].all():
                values = np.compress(keep[numbers], values, axis)
        if values is not tensors[name].values:
            tensors[name].values = np.ascontiguousarray(values)


def _cut_shapes(graph: gs.Graph, dependencies: Dependencies, keep: np.ndarray) -> None:
    for tensor in graph.tensors().values():
        grid = dependencies.grids.get(tensor.name)
        if tensor.shape is not None and grid is not None and not keep[grid].all():
            (axis,) = varying(grid)
            tensor.shape = [*tensor.shape]
            tensor.shape[axis] = int(keep[grid].sum())
    for node in graph.nodes:  # a weight behind its mask and its Q/DQ
        for output in node.outputs:
            weight = graphs.constant_behind(output)
            if weight is not None:
                output.shape = list(weight.shape)
