"""ReduceMax, ReduceMin and GlobalMaxPool, whose gradient is split evenly among equal elements.

That is the subgradient of `torch.amax`; one element alone (`torch.max`) would get more than its share.
The value is the mean of the elements that equal the extreme: exact for one, and for several but for
the rounding of their sum. The comparison that finds them has no gradient, nor has what it compares to.
"""

from __future__ import annotations

from typing import Any

import onnx
import onnx_graphsurgeon as gs

from onnxcomp.training.lowering.operators.reductions import axes_are_known, axes_of, reduce
from onnxcomp.training.lowering.operators.writer import Inputs, Rule, Writer, lowering


def _reduction(op: str) -> Rule:
    def rule(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
        axes = axes_of(inputs, attrs)
        if axes:
            _extreme(write, op, inputs[0], axes, bool(attrs.get("keepdims", 1)))
        else:
            write.into("Identity", inputs[0])

    return rule


def _global_max_pool(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    _extreme(write, "ReduceMax", inputs[0], list(range(2, len(inputs[0].shape))), True)


def _extreme(write: Writer, op: str, x: gs.Tensor, axes: list[int], keepdims: bool) -> None:
    chosen = write("Equal", x, reduce(write, op, x, axes, True), dtype=bool)
    ones = write("Cast", chosen, to=onnx.TensorProto.FLOAT)
    count = reduce(write, "ReduceSum", ones, axes, keepdims)
    # Where, not a product: an infinity elsewhere would make it NaN.
    total = reduce(write, "ReduceSum", write("Where", chosen, x, 0), axes, keepdims)
    write.into("Div", total, count)


LOWERING = lowering(
    "extremes",
    "ReduceMax, ReduceMin and GlobalMaxPool, which have no gradient",
    {
        "ReduceMax": _reduction("ReduceMax"),
        "ReduceMin": _reduction("ReduceMin"),
        "GlobalMaxPool": _global_max_pool,
    },
    lambda node: node.op == "GlobalMaxPool" or axes_are_known(node),
)
