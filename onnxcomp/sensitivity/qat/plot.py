"""The effects of INT8 as one picture: what each layer costs alone, and what leaving it float gains."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from onnxcomp.sensitivity import picture
from onnxcomp.sensitivity.picture import NAMED
from onnxcomp.sensitivity.qat.effects import Effects


def draw(effects: Effects, path: Path) -> None:
    """Draw ``path``, a PNG: SQNR of the logits, layer by layer.

    A layer that changes no logit has no point.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OnnxcompError: ``path`` cannot be written.
    """
    names = list(effects.layers)
    alone = {name: effects.layers[name].alone.decibels for name in effects.by_sensitivity()}
    with picture.drawn(path, len(names)) as (figure, upper, lower):
        _draw_alone(upper, effects, [_finite(alone[name]) for name in names])
        _draw_gains(lower, [_finite(effects.gain(name)) for name in names])
        picture.name_layers(upper, lower, names, alone, above=False)
        figure.suptitle(
            f"One layer at a time in INT8: {effects.images:,} images,"
            f" top-1 {effects.dense.top1:.2f} % in float, {effects.int8.top1:.2f} % in INT8",
            x=0.01,
            ha="left",
            fontsize="medium",
        )


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan


def _draw_alone(axis: Any, effects: Effects, values: list[float]) -> None:
    few = len(values) <= NAMED
    axis.plot(
        range(len(values)),
        values,
        label="this layer in INT8, the others float",
        color="C0",
        marker="o" if few else ".",
        linewidth=1.5 if few else 0.8,
    )
    lines = [("all layers in INT8", effects.int8, "C3", "-")]
    if effects.between is not None:
        lines.append(("no layer, but all between layers", effects.between, "C1", "--"))
    for label, point, color, style in lines:
        if math.isfinite(point.decibels):
            axis.axhline(point.decibels, color=color, linestyle=style, linewidth=1, label=label)
    axis.set_ylabel("SQNR of the logits [dB]")
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    # Above the panel, where it hides no line.
    axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize="small")


def _draw_gains(axis: Any, values: list[float]) -> None:
    axis.bar(range(len(values)), values, width=0.8, color="C2")
    axis.axhline(0, color="0.3", linewidth=0.8)
    axis.set_ylabel("gained if float [dB]")
    axis.grid(alpha=0.3, axis="y")
    axis.spines[["top", "right"]].set_visible(False)
