"""A validation as rows of text, for tables."""

from __future__ import annotations

from collections.abc import Mapping

from onnxcomp.parity.compare import Comparison
from onnxcomp.parity.layers import LayerErrors
from onnxcomp.parity.validation import Validation

LAYER_COLUMNS = (
    *("tensor", "op", "SQNR dB", "fall dB"),
    *("cosine", "max difference", "largest value"),
)


def validation_rows(found: Validation) -> list[tuple[str, str]]:
    """The measurements as pairs of name and text."""
    return [
        ("top-1 reference", f"{found.reference.top1:.2f} %"),
        ("top-1 candidate", f"{found.candidate.top1:.2f} %"),
        ("drop", found.drop.text()),
        ("only one of them right", f"{found.drop.lost:,} reference, {found.drop.won:,} candidate"),
        ("images", f"{found.reference.count:,}"),
        *comparison_rows(found.comparison),
    ]


def comparison_rows(comparison: Comparison) -> list[tuple[str, str]]:
    """How logits differ, as pairs of name and text."""
    return [
        ("images compared", f"{comparison.count:,}"),
        ("same top-1 class", f"{comparison.agreement:.2f} %"),
        ("max absolute difference", f"{comparison.max_absolute:.3g}"),
        ("mean absolute difference", f"{comparison.mean_absolute:.3g}"),
        ("max relative difference", f"{comparison.max_relative:.3g}"),
        ("cosine", f"{comparison.cosine:.6f}"),
        ("SQNR", f"{comparison.sqnr:.1f} dB"),
    ]


def layer_rows(found: LayerErrors, count: int) -> list[tuple[str, ...]]:
    """The ``count`` inner tensors where the SQNR falls most, in the network's order."""
    steep = sorted(found.errors, key=lambda error: -error.fall)[:count]
    return [
        (
            error.tensor,
            error.op,
            f"{error.sqnr:.1f}",
            f"{error.fall:.1f}",
            f"{error.cosine:.5f}",
            f"{error.max_absolute:.3g}",
            f"{error.largest:.3g}",
        )
        for error in found.errors
        if error in steep
    ]


def layer_lines(found: LayerErrors, limits: Mapping[str, float]) -> list[str]:
    """How many tensors were compared, and where they first go wrong."""
    worst = min(found.errors, key=lambda error: error.sqnr)
    first = found.steepest
    lines = [
        f"{len(found.errors)} inner tensors compared on {found.images} images; lowest SQNR {worst.sqnr:.1f}"
        f" dB, {worst.tensor}"
    ]
    if len(found.errors) == 1:
        lines.append("no inner tensor is called the same in both")
    elif first.fall > 0:
        lines.append(
            f"the steepest fall is {first.fall:.1f} dB, at {first.op} {first.node} ({first.tensor}); onnxcomp"
            " bisect tells what that costs"
        )
    below = found.below(limits)
    if below:
        error, least = below[0]
        lines.append(
            f"first below its limit: {error.op} {error.node} ({error.tensor}), {error.sqnr:.1f} of"
            f" {least:g} dB"
        )
    return lines
