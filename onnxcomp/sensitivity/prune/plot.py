"""The curves as one picture: what each layer costs, at each sparsity, in the order of the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcomp import extras
from onnxcomp.sensitivity import picture
from onnxcomp.sensitivity.picture import NAMED
from onnxcomp.sensitivity.prune.curves import Curves

LINEAR = 1.0
"""Points of accuracy up to which the axis is linear, and logarithmic above."""


def draw(curves: Curves, path: Path) -> None:
    """Draw ``path``, a PNG: points of top-1 accuracy lost, layer by layer, one line for each sparsity.

    Neither a display nor matplotlib's global state is used.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OnnxcompError: ``path`` cannot be written.
    """
    names, drops = list(curves.layers), _drops(curves)
    with picture.drawn(path, len(names)) as (figure, lines, map_):
        _draw_lines(lines, curves, drops)
        _draw_map(figure, map_, curves, drops)
        worst = {name: float(drops[:, names.index(name)].max()) for name in curves.by_sensitivity()}
        picture.name_layers(lines, map_, names, worst, above=True)
        figure.suptitle(
            f"One layer pruned at a time ({curves.criterion}, {curves.pattern}):"
            f" {curves.images:,} images, dense top-1 {curves.dense.top1:.2f} %",
            x=0.01,
            ha="left",
            fontsize="medium",
        )


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
