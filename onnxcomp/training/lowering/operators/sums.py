"""Sum and Mean of several tensors as a chain of Add."""

from __future__ import annotations

from typing import Any

from onnxcomp.training.lowering.operators.writer import Inputs, Writer, lowering


def _sum(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    if len(inputs) == 1:
        write.into("Identity", inputs[0])
        return
    total = inputs[0]
    for term in inputs[1:-1]:
        total = write("Add", total, term)
    write.into("Add", total, inputs[-1])


def _mean(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    total = inputs[0]
    for term in inputs[1:]:
        total = write("Add", total, term)
    write.into("Div", total, len(inputs))


LOWERING = lowering(
    "sums", "Sum and Mean of several tensors, which have no gradient", {"Sum": _sum, "Mean": _mean}
)
