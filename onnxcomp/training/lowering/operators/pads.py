"""Pad that repeats the image, or names its axes: its gradient in ONNX Runtime knows neither.

Reflected, repeated and wrapped padding are a Gather of the indices, axis by axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.training.lowering.operators.writer import Inputs, Writer, absent, constant, lowering


def _pad(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    x, mode = inputs[0], attrs.get("mode", "constant")
    widths = _widths(inputs)
    if mode == "constant":
        pads = [before for before, _ in widths] + [after for _, after in widths]
        value = 0.0 if absent(inputs, 2) else inputs[2]
        write.into("Pad", x, pads, value)
        return
    for axis, (before, after) in enumerate(widths):
        if before or after:
            size = inputs[0].shape[axis]
            kept = np.arange(max(-before, 0), size - max(-after, 0))
            indices = np.pad(kept, (max(before, 0), max(after, 0)), mode=mode)
            x = write("Gather", x, indices.tolist(), axis=axis)
    write.into("Identity", x)


def _widths(inputs: Inputs) -> list[tuple[int, int]]:
    """What is added before and behind, for every axis."""
    rank = len(inputs[0].shape)
    pads, axes = constant(inputs, 1), constant(inputs, 3) or list(range(rank))
    assert pads is not None
    widths = [(0, 0)] * rank
    for index, axis in enumerate(axes):
        widths[axis] = (pads[index], pads[index + len(axes)])
    return widths


def _condition(node: gs.Node) -> bool:
    special = node.attrs.get("mode", "constant") != "constant" or not absent(node.inputs, 3)
    return special and constant(node.inputs, 1) is not None


LOWERING = lowering(
    "padding modes",
    "Pad that reflects, repeats or wraps, or that names its axes, which its gradient cannot",
    {"Pad": _pad},
    _condition,
)
