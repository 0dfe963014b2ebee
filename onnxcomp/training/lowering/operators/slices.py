"""Split of which a part is not read, and Slice that runs backwards.

ONNX Runtime's gradient of Split joins the gradients that there are, so that a part without one makes
it too short; its gradient of Slice fails for a negative step.
"""

from __future__ import annotations

from typing import Any

import onnx_graphsurgeon as gs

from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import Lowering
from onnxcomp.training.lowering.operators.writer import Inputs, Writer, constant, rewrite, trained


def lower_splits(graph: gs.Graph) -> int:
    """Write each part of such a Split as a Slice; returns how many Splits."""
    results = {id(tensor) for tensor in graph.outputs}
    nodes = [n for n in graph.nodes if n.op == "Split" and trained(n) and not _all_read(n, results)]
    for node in nodes:
        x, axis = node.inputs[0], node.attrs.get("axis", 0)
        start = 0
        parts = list(node.outputs)
        node.inputs.clear()
        node.outputs.clear()
        for part in parts:
            end = start + part.shape[axis]
            if part.outputs or id(part) in results:
                edit.insert(graph, "Slice", [x, *_bounds(part, start, end, axis)], part)
            start = end
    if nodes:
        edit.settle(graph)
    return len(nodes)


def _all_read(node: gs.Node, results: set[int]) -> bool:
    return all(tensor.outputs or id(tensor) in results for tensor in node.outputs)


def _bounds(part: gs.Tensor, start: int, end: int, axis: int) -> list[gs.Tensor]:
    words = {"start": start, "end": end, "axis": axis}
    return [edit.integers(f"{part.name}.{word}", [value]) for word, value in words.items()]


def _backward_slice(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    """Gather of the indices, axis by axis."""
    x = inputs[0]
    starts, ends, axes, steps = (constant(inputs, i) or [] for i in (1, 2, 3, 4))
    shape = list(x.shape)
    for axis, start, end, step in zip(axes or range(len(starts)), starts, ends, steps, strict=True):
        size = shape[axis]
        low, high = (0, size) if step > 0 else (-1, size - 1)
        first, last = (min(max(n + size if n < 0 else n, low), high) for n in (start, end))
        x = write("Gather", x, list(range(first, last, step)), axis=axis)
    write.into("Identity", x)


def _runs_backwards(node: gs.Node) -> bool:
    steps = constant(node.inputs, 4)
    return steps is not None and min(steps) < 0 and None not in (constant(node.inputs, i) for i in (1, 2))


SPLIT = Lowering(
    "partial split",
    "Split of which a part is not read, whose gradient is wrong",
    lambda training: lower_splits(training.graph),
)
SLICE = Lowering(
    "backward slice",
    "Slice with a negative step, whose gradient fails",
    lambda training: rewrite(training.graph, {"Slice": _backward_slice}, _runs_backwards),
)
