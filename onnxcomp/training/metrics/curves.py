"""The curves of a run as one picture: loss, accuracy, learning rate and sparsity over the steps."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from onnxcomp import extras, files
from onnxcomp.training.metrics.scalars import scalars

# Group, title, unit, factor from the record's unit.
_PANELS = (
    ("loss", "Loss", "loss", 1.0),
    ("accuracy", "Accuracy", "accuracy [%]", 1.0),
    ("lr", "Learning rate", "learning rate", 1.0),
    ("sparsity", "Sparsity", "weights that are 0 [%]", 100.0),
    ("images_per_second", "Speed", "images a second", 1.0),
)
_DECADES = 100.0
"""Ratio of the largest to the smallest total loss beyond which its axis is logarithmic."""
_MARKED = 30
"""Points up to which each has a marker; a line through fewer than two shows nothing."""

Series = list[tuple[int, float]]


def curves(records: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Draw ``path``, a PNG of 1500 x 1050 pixels, from the records of ``metrics.jsonl``.

    Where nothing was pruned, the speed takes the place of the sparsity. Neither a display nor matplotlib's
    global state is used.

    Args:
        records: in order; each with its ``step``, the numbers that :func:`scalars` finds, and ``epoch``.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OnnxcompError: ``path`` cannot be written.
    """
    extras.optional("matplotlib", "plot")
    figure_module = extras.optional("matplotlib.figure", "plot")
    agg = extras.optional("matplotlib.backends.backend_agg", "plot")
    records = list(records)
    groups = _groups(records)
    left_out = "images_per_second" if _moves(groups["sparsity"]) else "sparsity"
    panels = [panel for panel in _PANELS if panel[0] != left_out]
    figure = figure_module.Figure(figsize=(10, 7), dpi=150, layout="constrained")
    canvas = agg.FigureCanvasAgg(figure)
    axes = list(figure.subplots(2, 2).flat)
    for axis, (group, title, unit, factor) in zip(axes, panels, strict=True):
        _draw(axis, groups[group], factor)
        axis.set_title(title, loc="left")
        axis.set(xlabel=_x_label(records), ylabel=unit)
    if _spans_decades(groups["loss"].get("total", [])):
        axes[0].set_yscale("log")
    for axis in axes[2:]:
        axis.set_ylim(bottom=0)
    files.write_atomically(path, canvas.print_png)


def _groups(records: Iterable[Mapping[str, Any]]) -> Mapping[str, dict[str, Series]]:
    """Points by group and name; the name is empty in a group of one."""
    found: defaultdict[str, dict[str, Series]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        for tag, value in scalars(record).items():
            group, _, name = tag.partition("/")
            found[group][name].append((record["step"], value))
    if len(found["loss"]) == 2:  # the total of one term
        found["loss"] = {"total": found["loss"]["total"]}
    return found


def _moves(group: Mapping[str, Series]) -> bool:
    return any(value for series in group.values() for _, value in series)


def _spans_decades(series: Series) -> bool:
    values = [value for _, value in series if math.isfinite(value)]
    return bool(values) and min(values) > 0 and max(values) > _DECADES * min(values)


def _x_label(records: Iterable[Mapping[str, Any]]) -> str:
    for record in records:
        if record.get("epoch") and record["step"]:
            return f"step ({record['step'] / record['epoch']:.0f} an epoch)"
    return "step"


def _draw(axis: Any, group: Mapping[str, Series], factor: float) -> None:
    for name, series in group.items():
        steps, values = zip(*series, strict=True)
        first = name in ("", "total", "test")
        axis.plot(
            steps,
            [factor * value for value in values],
            label=name.replace("_", " "),
            marker="." if len(series) <= _MARKED else "",
            linewidth=2 if first else 1,
            zorder=3 if first else 2,
        )
    if any(group):  # above the panel, where it hides no line
        axis.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False, borderpad=0, fontsize="small"
        )
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
