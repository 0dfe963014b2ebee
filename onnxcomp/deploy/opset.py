"""Lower a graph to an older opset, operator by operator, where the meaning stays the same.

An operator whose definition did not change between the two opsets is only relabelled. One that did is
looked up in a table of the changes of opsets 18 to 21 (onnx/docs/Changelog.md); what is used of
the change decides whether it is relabelled, rewritten or refused. One that is new is written out as the
operators that its specification says it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxcomp.deploy import axes, newer
from onnxcomp.deploy.pieces import Pieces
from onnxcomp.errors import ModelError

# Takes the newer form of a node back to the older one; returns what stands in the way, or "".
Downgrade = Callable[[gs.Node], str]


def lower_opset(graph: gs.Graph, max_opset: int) -> None:
    """Bring ``graph`` to at most ``max_opset``, in place; an older graph is left as it is.

    Raises:
        ModelError: an operator has no equal in that opset; names the node.
    """
    opset = graph.opset
    if opset > max_opset:
        for part in (graph, *graph.subgraphs(recursive=True)):
            for node in list(part.nodes):
                _lower(part, node, opset, max_opset)
            part.toposort()
            part.opset = max_opset
    graph.import_domains = [onnx.helper.make_opsetid("", graph.opset)]


def _lower(graph: gs.Graph, node: gs.Node, opset: int, max_opset: int) -> None:
    for version in _changes(node.op, opset, max_opset):
        downgrade, write = DOWNGRADES.get((node.op, version)), WRITTEN.get((node.op, version))
        if write is not None:
            obstacle = write(Pieces(graph, node))
        else:
            obstacle = downgrade(node) if downgrade else f"is used as opset {version} defines it"
        if obstacle:
            raise ModelError(
                f"{node.op} {obstacle}, which opset {max_opset} does not have",
                where=f"node {node.name or node.outputs[0].name}",
                fix=f"export the network with opset {max_opset}",
            )
        if write is not None:
            return


def _changes(op: str, opset: int, max_opset: int) -> Iterator[int]:
    """Versions of ``op`` to step down from, newest first."""
    while (version := onnx.defs.get_schema(op, opset, "").since_version) > max_opset:
        yield version
        opset = version - 1
        if not onnx.defs.has(op, opset, ""):
            return


def _same(node: gs.Node) -> str:
    """The change only widened the types, and networks here are float32 or INT8."""
    return ""


def _drop(**defaults: object) -> Downgrade:
    """Attributes the change added: gone where they say what the older operator does anyway."""

    def downgrade(node: gs.Node) -> str:
        for name, default in defaults.items():
            if node.attrs.get(name, default) != default:
                return f"is used with {name}={node.attrs[name]}"
            node.attrs.pop(name, None)
        return ""

    return downgrade


def _quantization(node: gs.Node) -> str:
    zero = node.inputs[2] if len(node.inputs) > 2 else None
    types = (np.int8, np.uint8, np.int32) if node.op == "DequantizeLinear" else (np.int8, np.uint8)
    if zero is not None and zero.dtype not in types:
        return f"is used with type {zero.dtype}"
    if zero is not None:  # the zero point's type already says it
        node.attrs.pop("output_dtype", None)
    node.attrs.pop("saturate", None)  # is about float8 only
    return _drop(block_size=0, output_dtype=0)(node)


def _cast(node: gs.Node) -> str:
    node.attrs.pop("saturate", None)
    new = {onnx.TensorProto.UINT4, onnx.TensorProto.INT4}
    new |= {v for k, v in onnx.TensorProto.DataType.items() if k.startswith("FLOAT8")}
    return "is used with a type" if node.attrs.get("to") in new else ""


def _average_pool(node: gs.Node) -> str:
    dilations = node.attrs.pop("dilations", [1])
    if any(size != 1 for size in dilations):
        return f"is used with dilations={dilations}"
    # What a window that hangs over the edge counts was settled in opset 19.
    if node.attrs.get("ceil_mode", 0) and node.attrs.get("count_include_pad", 0):
        return "is used with ceil_mode and count_include_pad"
    return ""


def _pad(node: gs.Node) -> str:
    obstacle = axes.pad(node)
    if not obstacle:
        _keep_inputs(node, 3)
    return obstacle


def _no_wrap(node: gs.Node) -> str:
    return "is used with mode=wrap" if node.attrs.get("mode") == "wrap" else ""


def _resize_19(node: gs.Node) -> str:
    mode = node.attrs.get("coordinate_transformation_mode", "")
    return f"is used with {mode}" if mode == "half_pixel_symmetric" else ""


def _resize_18(node: gs.Node) -> str:
    return axes.resize(node) or _drop(antialias=0, keep_aspect_ratio_policy="stretch")(node)


def _split(node: gs.Node) -> str:
    parts = node.attrs.get("num_outputs")
    if parts is None:
        return ""
    shape = node.inputs[0].shape
    size = shape[node.attrs.get("axis", 0)] if shape is not None else None
    if not isinstance(size, int) or size % parts:
        return f"is used with num_outputs={parts}"
    del node.attrs["num_outputs"]
    return ""


def _reduce(node: gs.Node) -> str:
    """Axes became an input in opset 18; here they become an attribute again."""
    given = node.inputs[1] if len(node.inputs) > 1 and not node.inputs[1].is_empty() else None
    if given is not None and not isinstance(given, gs.Constant):
        return "is used with computed axes"
    nothing = given is None or given.values.size == 0
    if nothing and node.attrs.get("noop_with_empty_axes", 0):
        return "is used with noop_with_empty_axes"
    node.attrs.pop("noop_with_empty_axes", None)
    _keep_inputs(node, 1)
    if given is not None and not nothing:
        node.attrs["axes"] = [int(axis) for axis in given.values.reshape(-1)]
    return ""


def _keep_inputs(node: gs.Node, count: int) -> None:
    while len(node.inputs) > count:
        node.inputs.pop()


def _scatter(node: gs.Node) -> str:
    reduction = node.attrs.get("reduction", "none")
    return "" if reduction in ("none", "add", "mul") else f"is used with reduction={reduction}"


_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
_WIDENED = {
    19: ("Constant", "Equal", "Identity", "Reshape", "Shape", "Size", "If", "Loop", "Scan"),
    20: ("ConstantOfShape", "IsInf", "IsNaN", "ReduceMax", "ReduceMin"),
    21: (
        *("Constant", "ConstantOfShape", "Flatten", "Identity", "If", "Loop", "Pad"),
        *("QLinearMatMul", "Reshape", "Scan", "Shape", "Size", "Squeeze", "Transpose", "Unsqueeze"),
    ),
}

# What to do with an operator of this version so that it means the same one version earlier.
DOWNGRADES: dict[tuple[str, int], Downgrade] = {
    **{(op, version): _same for version, ops in _WIDENED.items() for op in ops},
    **{(f"Reduce{name}", 18): _reduce for name in _REDUCTIONS},
    ("AveragePool", 19): _average_pool,
    ("Cast", 19): _cast,
    ("Cast", 21): _cast,
    ("DequantizeLinear", 19): _quantization,
    ("DequantizeLinear", 21): _quantization,
    ("LpPool", 18): _drop(ceil_mode=0, dilations=None),
    ("Pad", 18): _pad,
    ("Pad", 19): _no_wrap,
    ("QuantizeLinear", 19): _quantization,
    ("QuantizeLinear", 21): _quantization,
    ("Resize", 18): _resize_18,
    ("Resize", 19): _resize_19,
    ("ScatterElements", 18): _scatter,
    ("ScatterND", 18): _scatter,
    ("Split", 18): _split,
}
# What an operator of this version is made of; returns what stands in the way, or "".
WRITTEN: dict[tuple[str, int], Callable[[Pieces], str]] = {
    ("Gelu", 20): newer.gelu,
    ("GroupNormalization", 21): newer.group_norm,
    ("Mish", 18): newer.mish,
}
