"""Round with a straight-through gradient: the value is rounded, the gradient passes as it is.

The straight-through estimator is that of Bengio, Leonard and Courville 2013, arXiv 1308.3432.
`com.microsoft::FakeQuant` of scale 1 rounds half to even, as Round does, and passes the gradient within
its range. From 2^23 on every float32 is whole, and infinities and NaN are left alone too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import Lowering
from onnxcomp.training.lowering.operators.writer import Inputs, Writer, rewrite

WHOLE = 2**23


def _round(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    (x,) = inputs
    near = write("Less", write("Abs", x), WHOLE, dtype=bool)
    limits = {"quant_min": -WHOLE, "quant_max": WHOLE}
    rounded = write("FakeQuant", x, 1, 0, **limits)
    (node,) = rounded.inputs
    node.domain = edit.MICROSOFT
    node.outputs.append(gs.Variable(f"{rounded.name}.inside", np.bool_))
    write.into("Where", near, rounded, x)


def lower_round(graph: gs.Graph) -> int:
    """Replace every Round outside the teacher; returns how many."""
    count = rewrite(graph, {"Round": _round})
    if count:
        edit.use_microsoft(graph)
    return count


LOWERING = Lowering(
    "straight-through round",
    "Round, whose gradient is that of the identity",
    lambda training: lower_round(training.graph),
)
