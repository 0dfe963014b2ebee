"""The curves as one picture: what each layer costs, at each sparsity, in the order of the network."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcomp import extras, files
from onnxcomp.sensitivity.curves import Curves

NAMED = 40
"""Layers up to which each is called by its name below the picture; of more, only their groups."""
WORST = 8
"""The most sensitive ones, whose names stand beside their points where not all are named."""
LINEAR = 1.0
"""Points of accuracy up to which the axis is linear, and logarithmic above."""


def require() -> None:
    """Find out before anything is measured whether a picture can be drawn.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    extras.optional("matplotlib", "plot")


def draw(curves: Curves, path: Path) -> None:
    """Draw ``path``, a PNG: points of top-1 accuracy lost, layer by layer, one line for each sparsity.

    Neither a display nor matplotlib's global state is used.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OnnxcompError: ``path`` cannot be written.
    """
    require()
    figure_module = extras.optional("matplotlib.figure", "plot")
    agg = extras.optional("matplotlib.backends.backend_agg", "plot")
    names = list(curves.layers)
    width = min(20.0, max(8.0, 0.1 * len(names) + 4))
    figure = figure_module.Figure(figsize=(width, 7.5), dpi=110, layout="constrained")
    canvas = agg.FigureCanvasAgg(figure)
    lines, map_ = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    drops = _drops(curves)
    _draw_lines(lines, curves, drops)
    _draw_map(figure, map_, curves, drops)
    _name_layers(map_, lines, curves, drops)
    figure.suptitle(
        f"One layer pruned at a time ({curves.criterion}, {curves.pattern}):"
        f" {curves.images:,} images, dense top-1 {curves.dense.top1:.2f} %",
        x=0.01,
        ha="left",
        fontsize="medium",
    )
    files.write_atomically(path, canvas.print_png)


def _drops(curves: Curves) -> NDArray[np.float64]:
    """Points lost: (sparsities, layers)."""
    found = [[curves.drop(name, sparsity) for name in curves.layers] for sparsity in curves.sparsities]
    return np.array(found, np.float64)


def _draw_lines(axis: Any, curves: Curves, drops: NDArray[np.float64]) -> None:
    count = drops.shape[1]
    for row, (sparsity, color) in enumerate(zip(curves.sparsities, _colors(len(drops)), strict=True)):
        axis.plot(
            range(count),
            drops[row],
            label=f"{100 * sparsity:g} %",
            color=color,
            marker="o" if count <= NAMED else ".",
            markersize=6 if count <= NAMED else 4,
            linewidth=1.5 if count <= NAMED else 0.8,
        )
    axis.set_yscale("symlog", linthresh=LINEAR, linscale=0.6)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_ylabel("top-1 lost [points]")
    axis.axhline(0, color="0.3", linewidth=0.8)
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(  # above the panel, where it hides no line
        *(title := axis.get_legend_handles_labels()),
        title="weights of the layer that are 0",
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(title[1]),
        frameon=False,
        fontsize="small",
        title_fontsize="small",
    )


def _colors(count: int) -> list[Any]:
    """From light to dark with the sparsity."""
    colormaps = extras.optional("matplotlib", "plot").colormaps
    return list(colormaps["viridis_r"](np.linspace(0.1, 1, count)))


def _draw_map(figure: Any, axis: Any, curves: Curves, drops: NDArray[np.float64]) -> None:
    colors = extras.optional("matplotlib.colors", "plot")
    top = max(float(np.nanmax(drops)), LINEAR)
    image = axis.imshow(
        np.maximum(drops, 0),
        aspect="auto",
        interpolation="nearest",
        cmap="inferno_r",
        norm=colors.SymLogNorm(LINEAR, vmin=0, vmax=top),
    )
    axis.set_yticks(range(len(drops)), [f"{100 * sparsity:g} %" for sparsity in curves.sparsities])
    axis.set_ylabel("sparsity")
    beside = axis.inset_axes((1.01, 0, 0.012, 1))  # an axis of its own would stand behind the list of names
    bar = figure.colorbar(image, cax=beside, format=lambda value, _: f"{value:g}")
    bar.set_label("points lost")


def _name_layers(below: Any, lines: Any, curves: Curves, drops: NDArray[np.float64]) -> None:
    """All names below the picture where they fit; else their groups, and the worst by a number."""
    names = list(curves.layers)
    if len(names) <= NAMED:
        below.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        return
    groups = group_names(names)
    if len(groups) > 1:
        _name_groups(below, lines, groups)
    else:
        below.set_xlabel("layer, in the order of the network")
    worst = curves.by_sensitivity()[:WORST]
    for number, name in enumerate(worst, start=1):
        index = names.index(name)
        point = (index, float(drops[:, index].max()))
        lines.annotate(
            f"{number}", point, xytext=(0, 4), textcoords="offset points", ha="center", fontsize="small"
        )
    listed = [f"{number}  {name}" for number, name in enumerate(worst, start=1)]
    text = "\n".join(["most sensitive", *listed])
    lines.text(1.01, 1, text, transform=lines.transAxes, va="top", fontsize="small", linespacing=1.5)


def _name_groups(below: Any, lines: Any, groups: Sequence[tuple[str, int]]) -> None:
    starts = np.cumsum([0, *(size for _, size in groups)])
    middles = [start + (size - 1) / 2 for (_, size), start in zip(groups, starts[:-1], strict=True)]
    names = [name for name, _ in groups]
    below.set_xticks(middles, names, rotation=30, ha="right", rotation_mode="anchor")
    below.tick_params(axis="x", length=0)
    for start in starts[1:-1]:
        for axis in (below, lines):
            axis.axvline(start - 0.5, color="0.6", linewidth=0.6)


def group_names(names: Sequence[str], most: int = NAMED) -> list[tuple[str, int]]:
    """Runs of layers whose names begin with the same parts, and the length of each.

    The parts are what stands between dots and slashes; as many are taken as leave at most ``most`` groups,
    which may be none: then it is one group without a name.
    """
    parts = [name.replace("/", ".").split(".") for name in names]
    found = [("", len(names))]
    for depth in range(1, max(len(part) for part in parts) + 1):
        runs = itertools.groupby(parts, key=lambda part: part[:depth])
        groups = [(".".join(key), len(list(run))) for key, run in runs]
        if len(groups) > most:
            break
        found = groups
    return found
