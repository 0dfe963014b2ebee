"""Q/DQ around Concats of channels: chosen by what it costs in this network.

With one scale for all that meets, TensorRT keeps the growing tensor in INT8 and copies nothing; with a scale
for each input it requantises; without Q/DQ it concatenates floats. A shared scale is as wide as the widest
input, which in a dense block may cost most of the precision of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnxcomp.model import Model
from onnxcomp.passes.base import Context
from onnxcomp.passes.qat.clipping import OF_RANGES
from onnxcomp.passes.qat.placement import ConcatMode, Placement
from onnxcomp.passes.qat.quantize import insert
from onnxcomp.passes.qat.sqnr import logits, sqnr

if TYPE_CHECKING:
    from onnxcomp.passes.qat.qat import Qat

MODES: tuple[ConcatMode, ...] = ("shared", "each", "none")
"""In the order of speed, the fastest first."""
COST = 1.0
"""dB of SQNR that a faster form may cost."""
BATCHES = 4


def choose(options: Qat, model: Model, context: Context) -> tuple[ConcatMode, tuple[str, ...]]:
    """The fastest form whose SQNR is within :data:`COST` of the best one's, measured on a few batches.

    Returns:
        The form, and a line that says what was measured, where the forms differ.
    """
    placements = {mode: options.place(model, context, mode) for mode in MODES}
    first, *others = map(_pairs, placements.values())
    if all(other == first for other in others):
        return MODES[0], ()
    assert context.calibration is not None
    names = dict.fromkeys(name for placement in placements.values() for name in placement.sites)
    histogram = options.calibration not in OF_RANGES
    observed = context.calibration.observe(model, list(names), histogram=histogram)
    reference = logits(model, context.calibration, BATCHES)
    found: dict[ConcatMode, float] = {}
    for mode in MODES:
        trial = model.copy()
        placement = options.place(trial, context, mode)
        insert(trial, placement, observed, options)
        found[mode] = sqnr(reference, logits(trial, context.calibration, BATCHES))
    best = max(found.values())
    mode = next(mode for mode in MODES if found[mode] >= best - COST)
    figures = ", ".join(f"{one} {value:.1f} dB" for one, value in found.items())
    return mode, (f"concat={mode}: SQNR of the logits {figures}",)


def _pairs(placement: Placement) -> set[frozenset[tuple[str, int]]]:
    """Which nodes read which tensors through pairs, by scale."""
    return {
        frozenset((site.tensor.name, id(node)) for site in group for node in site.readers)
        for group in placement.groups()
    }
