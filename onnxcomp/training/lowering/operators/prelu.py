"""PRelu as a choice between x and slope * x; the slope is trained along, whatever shape it broadcasts from.

At 0 the gradient is the slope's, as in torch.
"""

from __future__ import annotations

from typing import Any

from onnxcomp.training.lowering.operators.writer import Inputs, Writer, lowering


def _prelu(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    x, slope = inputs
    write.into("Where", write("Greater", x, 0, dtype=bool), x, write("Mul", x, slope))


LOWERING = lowering("prelu", "PRelu, which has no gradient", {"PRelu": _prelu})
