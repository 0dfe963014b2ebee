"""Reductions over axes, which are an attribute or an input, may be negative, and may be dropped."""

from __future__ import annotations

from typing import Any

import onnx_graphsurgeon as gs

from onnxcomp.training.lowering.operators.writer import Inputs, Rule, Writer, absent, constant, lowering


def axes_of(inputs: Inputs, attrs: dict[str, Any]) -> list[int]:
    """The axes that are reduced, from 0, in order; none where the node leaves its input as it is."""
    rank = len(inputs[0].shape)
    axes = attrs.get("axes") if absent(inputs, 1) else constant(inputs, 1)
    if not axes:
        return [] if attrs.get("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(int(axis) % rank for axis in axes)


def axes_are_known(node: gs.Node) -> bool:
    """Whether the axes are in the file, and not computed."""
    return absent(node.inputs, 1) or constant(node.inputs, 1) is not None


def reduce(write: Writer, op: str, x: gs.Tensor, axes: list[int], keepdims: bool) -> gs.Variable:
    """A reduction by the form that its operator has in the graph's opset."""
    if op == "ReduceSum" or write.graph.opset >= 18:
        return write(op, x, axes, keepdims=int(keepdims))
    return write(op, x, axes=axes, keepdims=int(keepdims))


def finish(write: Writer, kept: gs.Tensor, axes: list[int], attrs: dict[str, Any]) -> None:
    """The result, from that whose reduced axes are 1."""
    if axes and not attrs.get("keepdims", 1):
        write.into("Squeeze", kept, axes)
    else:
        write.into("Identity", kept)


def _sum_of(op: str) -> Rule:
    def rule(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
        x, axes = inputs[0], axes_of(inputs, attrs)
        terms = write("Abs", x) if op == "ReduceL1" else write("Mul", x, x)
        total = reduce(write, "ReduceSum", terms, axes, True) if axes else terms
        finish(write, total, axes, attrs)

    return rule


def _log_sum(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    x, axes = inputs[0], axes_of(inputs, attrs)
    total = reduce(write, "ReduceSum", x, axes, True) if axes else x
    finish(write, write("Log", total), axes, attrs)


def _kept(op: str) -> Rule:
    def rule(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
        axes = axes_of(inputs, attrs)
        finish(write, reduce(write, op, inputs[0], axes, True), axes, attrs)

    return rule


KEPT = ("ReduceL2", "ReduceLogSumExp")


def _condition(node: gs.Node) -> bool:
    dropped = not node.attrs.get("keepdims", 1) and bool(axes_of(node.inputs, node.attrs))
    return axes_are_known(node) and (node.op not in KEPT or dropped)


LOWERING = lowering(
    "reductions",
    "ReduceL1, ReduceSumSquare and ReduceLogSum, which have no gradient; ReduceL2 and ReduceLogSumExp "
    "that drop their axes, whose gradient cannot be built",
    {
        "ReduceL1": _sum_of("ReduceL1"),
        "ReduceSumSquare": _sum_of("ReduceSumSquare"),
        "ReduceLogSum": _log_sum,
        **{op: _kept(op) for op in KEPT},
    },
    _condition,
)
