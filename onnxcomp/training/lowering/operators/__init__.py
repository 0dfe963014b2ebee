"""Operators whose gradient ONNX Runtime lacks or gets wrong, written by others: one concept a file."""

from __future__ import annotations

from onnxcomp.training.lowering.base import Lowering
from onnxcomp.training.lowering.operators import (
    broadcast,
    cross_entropy,
    einsum,
    exponential_units,
    extremes,
    frozen_norm,
    group_norm,
    hard_gates,
    layer_norm,
    pads,
    prelu,
    reductions,
    rounding,
    slices,
    smooth_units,
    sums,
)

OPERATORS: tuple[Lowering, ...] = (
    group_norm.LOWERING,
    broadcast.LOWERING,
    sums.LOWERING,
    hard_gates.LOWERING,
    exponential_units.LOWERING,
    prelu.LOWERING,
    smooth_units.LOWERING,
    rounding.LOWERING,
    extremes.LOWERING,
    reductions.LOWERING,
    slices.SPLIT,
    slices.SLICE,
    pads.LOWERING,
    einsum.LOWERING,
    layer_norm.LOWERING,
    cross_entropy.LOWERING,
)
"""While the graph has the shapes of the compression form."""

LATE: tuple[Lowering, ...] = (frozen_norm.LOWERING,)
"""Once the layout is settled, of which BatchNormalization is a part."""
