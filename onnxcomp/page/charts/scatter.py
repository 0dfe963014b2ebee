"""Accuracy against what it costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onnxcomp import extras
from onnxcomp.page.charts.svg import EXTRA, INK, SERIES, Chart, chart, figure
from onnxcomp.page.text import figure as short
from onnxcomp.page.text import shortened

MARKERS = "osD^vPX"
LOGARITHMIC = 4.0
"""Ratio of the largest to the smallest cost beyond which the axis is logarithmic."""


@dataclass(frozen=True)
class Point:
    """A network.

    Attributes:
        label: its name.
        cost: above 0.
        accuracy: top-1, in percent.
    """

    label: str
    cost: float
    accuracy: float


def scatter(name: str, title: str, unit: str, groups: Sequence[tuple[str, Sequence[Point]]]) -> Chart | None:
    """Points of accuracy over cost, each with its name; None where there is none.

    Args:
        unit: of the costs, in words.
        groups: names and points, such as one for each way to measure.
    """
    groups = [(kind, points) for kind, points in groups if points]
    if not groups:
        return None
    costs = [point.cost for _, points in groups for point in points]
    with figure(5.2, 3.5) as drawn:
        axis = drawn.subplots()
        named: set[str] = set()
        for number, (kind, points) in enumerate(groups):
            _group(axis, number, kind, points, named)
        if max(costs) > LOGARITHMIC * min(costs):
            axis.set_xscale("log")
            ticker = extras.optional("matplotlib.ticker", EXTRA)
            axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.xaxis.set_minor_formatter(lambda value, _: "")
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axis.margins(0.14, 0.2)
        axis.set(xlabel=unit, ylabel="top-1 [%]")
        axis.grid(visible=True)
        if len(groups) > 1:
            axis.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=4)
        return chart(drawn, name, title, _text(title, unit, groups))


def _group(axis: Any, number: int, kind: str, points: Sequence[Point], named: set[str]) -> None:
    """A network is named once: in other groups it is the point at the same height."""
    colour = SERIES[number % len(SERIES)]
    axis.plot(
        [point.cost for point in points],
        [point.accuracy for point in points],
        linestyle=":" if len(points) > 1 else "",
        color=colour,
        linewidth=0.8,
        marker=MARKERS[number % len(MARKERS)],
        markersize=6,
        label=shortened(kind),
    )
    for index, point in enumerate(point for point in points if point.label not in named):
        # Networks of the same training lie close together: labels in turns above and below.
        above = index % 2 == 0
        axis.annotate(
            shortened(point.label, 30),
            (point.cost, point.accuracy),
            xytext=(0, 7 if above else -7),
            textcoords="offset points",
            ha="center",
            va="bottom" if above else "top",
            fontsize=8,
            color=INK,
        )
    named.update(point.label for point in points)


def _text(title: str, unit: str, groups: Sequence[tuple[str, Sequence[Point]]]) -> str:
    said = (
        f"{shortened(point.label)}: {point.accuracy:.2f} % at {short(point.cost)}"
        + (f" ({shortened(kind)})" if len(groups) > 1 else "")
        for kind, points in groups
        for point in points
    )
    return f"{title}. {unit}. {'; '.join(said)}."
