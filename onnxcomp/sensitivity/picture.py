"""A picture of all layers of a network, in two panels, one above the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from onnxcomp import extras, files

NAMED = 40
"""Layers up to which each is called by its name below the picture; of more, only their groups."""
WORST = 8
"""The most sensitive ones, whose names stand beside their points where not all are named."""


def require() -> None:
    """Find out before anything is measured whether a picture can be drawn.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    extras.optional("matplotlib", "plot")


@contextmanager
def drawn(path: Path, layers: int) -> Iterator[tuple[Any, Any, Any]]:
    """Gives a figure and its two panels, and writes ``path``, a PNG, when the block ends.

    Neither a display nor matplotlib's global state is used.

    Raises:
        MissingPackageError: matplotlib is not installed.
        OnnxcompError: ``path`` cannot be written.
    """
    require()
    figure_module = extras.optional("matplotlib.figure", "plot")
    agg = extras.optional("matplotlib.backends.backend_agg", "plot")
    width = min(20.0, max(8.0, 0.1 * layers + 4))
    figure = figure_module.Figure(figsize=(width, 7.5), dpi=110, layout="constrained")
    canvas = agg.FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    yield figure, upper, lower
    files.write_atomically(path, canvas.print_png)


def name_layers(
    upper: Any, lower: Any, names: Sequence[str], values: Mapping[str, float], *, above: bool
) -> None:
    """All names below the picture where they fit; else their groups, and the worst by a number.

    Args:
        names: in the order of the network.
        values: what the upper panel shows of each, the most sensitive first.
        above: where the numbers stand.
    """
    if len(names) <= NAMED:
        lower.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        return
    groups = group_names(names)
    if len(groups) > 1:
        _name_groups(lower, upper, groups)
    else:
        lower.set_xlabel("layer, in the order of the network")
    worst = list(values)[:WORST]
    offset = (0, 4) if above else (0, -12)
    for number, name in enumerate(worst, start=1):
        point = (names.index(name), values[name])
        upper.annotate(
            f"{number}", point, xytext=offset, textcoords="offset points", ha="center", fontsize="small"
        )
    listed = [f"{number}  {name}" for number, name in enumerate(worst, start=1)]
    text = "\n".join(["most sensitive", *listed])
    upper.text(1.01, 1, text, transform=upper.transAxes, va="top", fontsize="small", linespacing=1.5)


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
