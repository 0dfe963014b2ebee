"""BatchNormalization with its running statistics, where these are not trained along, as Mul and Add.

Scale, bias and everything before them train; the factor and the offset per channel are computed in the
graph, from the parameters of the moment (Ioffe and Szegedy 2015, algorithm 2, step 11).
"""

from __future__ import annotations

from typing import Any

from onnxcomp import graphs
from onnxcomp.training.lowering.operators.writer import Inputs, Writer, lowering


def _batch_norm(write: Writer, inputs: Inputs, attrs: dict[str, Any]) -> None:
    x, scale, bias, mean, variance = inputs
    shape = [1, -1] + [1] * (len(x.shape) - 2)
    deviation = write("Sqrt", write("Add", variance, attrs.get("epsilon", 1e-5)))
    factor = write("Div", scale, deviation)
    offset = write("Sub", bias, write("Mul", mean, factor))
    scaled = write("Mul", x, write("Reshape", factor, shape))
    write.into("Add", scaled, write("Reshape", offset, shape))


LOWERING = lowering(
    "running statistics",
    "BatchNormalization of the student whose running statistics stay as they are",
    {"BatchNormalization": _batch_norm},
    graphs.is_trained,
)
