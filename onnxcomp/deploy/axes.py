"""Pad and Resize along some axes (opset 18) as Pad and Resize along all of them.

Older opsets know no axes; and where ONNX Runtime moves channels last for its integer kernels it leaves the
axes where they were, and the file does not run.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

AXES, SCALES, SIZES = 3, 2, 3
"""Inputs of Pad; of Resize."""


def expand(graph: gs.Graph) -> None:
    """Rewrite those of which all is known, in place; others stay."""
    for node in graph.nodes:
        if node.op == "Pad":
            pad(node)
        elif node.op == "Resize":
            resize(node)


def pad(node: gs.Node) -> str:
    """Rewrite a Pad, in place; returns what stands in the way, or ``""``."""
    if len(node.inputs) <= AXES or node.inputs[AXES].is_empty():
        return ""
    shape, pads, axes = node.inputs[0].shape, node.inputs[1], node.inputs[AXES]
    if shape is None or not (isinstance(pads, gs.Constant) and isinstance(axes, gs.Constant)):
        return "is used with computed axes or pads"
    rank, count = len(shape), axes.values.size
    full = np.zeros((2, rank), np.int64)
    full[:, axes.values.reshape(-1) % rank] = pads.values.reshape(2, count)
    node.inputs[1] = gs.Constant(f"{node.name or node.outputs[0].name}/pads", full.reshape(-1))
    del node.inputs[AXES]
    return ""


def resize(node: gs.Node) -> str:
    """Rewrite a Resize, in place; returns what stands in the way, or ``""``."""
    if "axes" not in node.attrs:
        return ""
    shape = node.inputs[0].shape
    given = next((i for i in (SCALES, SIZES) if len(node.inputs) > i and not node.inputs[i].is_empty()), 0)
    constant = node.inputs[given] if given else None
    stretched = node.attrs.get("keep_aspect_ratio_policy", "stretch") in ("stretch", b"stretch")
    cropped = node.attrs.get("coordinate_transformation_mode") in (
        "tf_crop_and_resize",
        b"tf_crop_and_resize",
    )
    if shape is None or cropped or not stretched or not isinstance(constant, gs.Constant):
        return "is used with axes"
    axes = [axis % len(shape) for axis in node.attrs["axes"]]
    found = _scales(constant.values.reshape(-1), [shape[axis] for axis in axes], given)
    if found is None:
        return "is used with axes"
    full = np.ones(len(shape), np.float32)
    full[axes] = found
    name = node.name or node.outputs[0].name
    empty = gs.Variable.empty()
    node.inputs = [node.inputs[0], empty, gs.Constant(f"{name}/scales", full)]
    del node.attrs["axes"]
    return ""


def _scales(values: np.ndarray, dims: list[object], given: int) -> np.ndarray | None:
    """Scales of the axes, float32; None where sizes cannot be told by scales."""
    if given == SCALES:
        return values.astype(np.float32)
    if not all(isinstance(dim, int) and dim > 0 for dim in dims):
        return None
    sizes = np.array(dims, np.float32)
    scales: np.ndarray = values.astype(np.float32) / sizes
    return scales if np.array_equal(np.floor(sizes * scales), values) else None
