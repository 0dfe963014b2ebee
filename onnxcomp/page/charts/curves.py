"""What a training did over its steps, with its schedules."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from onnxcomp.page.charts.svg import FAINT, SERIES, Chart, chart, figure
from onnxcomp.page.metrics import Points, Training
from onnxcomp.page.text import figure as short
from onnxcomp.page.text import shortened

PANELS = (
    ("loss", "Loss", 1.0),
    ("accuracy", "Accuracy [%]", 1.0),
    ("lr", "Learning rate", 1.0),
    ("sparsity", "Weights that are 0 [%]", 100.0),
)
MOST = 300
"""Points of a line; of more, evenly spaced ones are drawn, and the last."""
DASHES = ("-", "--", ":", "-.")
DECADES = 100.0
"""Ratio of the largest to the smallest loss beyond which its axis is logarithmic."""


def curves(name: str, training: Training) -> Chart | None:
    """Loss, accuracy, learning rate and sparsity of a training; None where no step was logged."""
    panels = [(group, title, factor, _lines(training, group)) for group, title, factor in PANELS]
    panels = [panel for panel in panels if panel[3]]
    if not panels:
        return None
    # Legends stand beside the titles: three panels in a row have room for two names each.
    crowded = len(panels) > 3 or any(len(lines) > 2 for *_, lines in panels)
    across = 2 if crowded else len(panels)
    rows = math.ceil(len(panels) / across)
    with figure(9.0, 2.35 * rows) as drawn:
        axes = list(drawn.subplots(rows, across, squeeze=False).flat)
        for axis in axes[len(panels) :]:
            axis.remove()
        for axis, (group, title, factor, lines) in zip(axes, panels, strict=False):
            _panel(axis, lines, factor)
            axis.set_title(title)
            if group == "loss" and _spans(lines):
                axis.set_yscale("log")
                axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
                axis.yaxis.set_minor_formatter(lambda value, _: "")
            if group in ("lr", "sparsity"):
                axis.set_ylim(bottom=0)
            for stage in training.stages[1:]:
                axis.axvline(stage.first, color=FAINT, linewidth=0.8, linestyle="--")
        for axis in axes[max(0, len(panels) - across) : len(panels)]:
            axis.set_xlabel("step")
        return chart(drawn, name, f"Training of {training.label}", text(training))


def text(training: Training) -> str:
    """The ends of the curves in a sentence."""
    said = [f"{training.steps:,} steps, {training.epochs:g} epochs"]
    for series, words, factor in (
        ("loss/total", "loss", 1.0),
        ("accuracy/train", "training accuracy in percent", 1.0),
        ("accuracy/test", "test accuracy in percent", 1.0),
        ("lr", "learning rate", 1.0),
        ("sparsity", "zeros in percent", 100.0),
    ):
        points = training.series.get(series)
        if points:
            first, last = (short(factor * point[1]) for point in (points[0], points[-1]))
            said.append(f"{words} from {first} to {last}")
    return f"Training of {training.label}: {'; '.join(said)}."


def _lines(training: Training, group: str) -> list[tuple[str, Points]]:
    found = [
        (name.partition("/")[2], points)
        for name, points in sorted(training.series.items())
        if name.partition("/")[0] == group
    ]
    if group == "sparsity" and not any(value for _, points in found for _, value in points):
        return []
    if group == "loss" and len(found) == 2:  # the total of one term
        found = [line for line in found if line[0] == "total"]
    return sorted(found, key=lambda line: line[0] not in ("", "total", "test"))


def _panel(axis: Any, lines: Sequence[tuple[str, Points]], factor: float) -> None:
    for number, (name, points) in enumerate(lines):
        shown = _thinned(points)
        axis.plot(
            [step for step, _ in shown],
            [factor * value for _, value in shown],
            color=SERIES[number % len(SERIES)],
            linestyle=DASHES[number % len(DASHES)],
            linewidth=1.9 if number == 0 else 1.2,
            marker="." if len(shown) <= 30 else "",
            markersize=4,
            label=shortened(name.replace("_", " "), 24).lstrip("_"),
        )
    if any(name for name, _ in lines):
        axis.legend(loc="lower right", bbox_to_anchor=(1, 0.97), ncols=5, borderpad=0, columnspacing=1)
    axis.grid(visible=True)


def _thinned(points: Points) -> Points:
    if len(points) <= MOST:
        return points
    stride = math.ceil(len(points) / MOST)
    kept = points[::stride]
    return kept if kept[-1] == points[-1] else (*kept, points[-1])


def _spans(lines: Sequence[tuple[str, Points]]) -> bool:
    values = [value for _, points in lines[:1] for _, value in points]
    return (
        bool(values)
        and min(value for _, points in lines for _, value in points) > 0
        and (max(values) > DECADES * min(values))
    )
