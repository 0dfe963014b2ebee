"""Shapes that the file computes from its batch become constants: :mod:`onnxcomp.fold_shapes`."""

from __future__ import annotations

from onnxcomp.fold_shapes import fold_shapes
from onnxcomp.training.lowering.base import Lowering

LOWERING = Lowering(
    "constant shapes",
    "shapes that the graph computes, all known once the batch is fixed",
    lambda training: fold_shapes(training.graph),
)
