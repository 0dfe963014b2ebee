"""Concats that grow: ``Concat(a, b, c)`` after ``Concat(a, b)`` is ``Concat(that, c)``.

A dense block joins all its layers' outputs anew for each layer. Copying the last Concat as one piece is the
same, in fewer and larger copies.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

_Parts = tuple[int, ...]


def grow(graph: gs.Graph) -> int:
    """Let each Concat start from the longest earlier one that its first inputs are; returns how many do."""
    found: dict[tuple[int, _Parts], gs.Tensor] = {}
    count = 0
    for node in graph.nodes:
        if node.op != "Concat":
            continue
        axis = int(node.attrs["axis"])
        parts = tuple(id(tensor) for tensor in node.inputs)
        for length in range(len(parts) - 1, 1, -1):
            start = found.get((axis, parts[:length]))
            if start is not None:
                node.inputs = [start, *node.inputs[length:]]
                count += 1
                break
        found.setdefault((axis, parts), node.outputs[0])
    graph.toposort()
    return count
