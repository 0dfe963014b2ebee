"""Charts over the layers of a network: zeros, ranges, and the layers that take or cost most."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from onnxcomp.page.charts.svg import FAINT, SERIES, Chart, chart, figure
from onnxcomp.page.found import Sensitivity
from onnxcomp.page.histogram import Histogram
from onnxcomp.page.network import Described, Network
from onnxcomp.page.text import figure as short
from onnxcomp.page.text import shortened

LISTED = 20
"""Layers in a chart of those that matter most."""


def sparsity(name: str, networks: Sequence[Network]) -> Chart | None:
    """Zeros of each layer of each network, a panel each; None where no weight is 0."""
    networks = [one for one in networks if any(item.layer.zeros for item in one.layers)]
    if not networks:
        return None
    with figure(9.0, 1.0 + 1.35 * len(networks)) as drawn:
        axes = drawn.subplots(len(networks), 1, squeeze=False)[:, 0]
        for number, (axis, one) in enumerate(zip(axes, networks, strict=True)):
            values = [item.layer.sparsity for item in one.layers]
            axis.stairs(values, fill=True, color=SERIES[number % len(SERIES)], alpha=0.8)
            axis.set(ylim=(0, 100), xlim=(0, len(values)), ylabel="zeros [%]")
            axis.set_title(shortened(one.label))
            axis.grid(visible=True, axis="y")
        axes[-1].set_xlabel("layer, in the order of the graph")
        text = "; ".join(f"{shortened(one.label)}: {_zeros(one.layers)}" for one in networks)
        return chart(drawn, name, "Zeros by layer", f"Zeros by layer. {text}.")


def ranges(name: str, title: str, unit: str, found: Sequence[Histogram | None]) -> Chart | None:
    """Extremes, the middle 98 % and the median of each layer's values; None where there are none.

    Args:
        unit: of the values, in words.
        found: by layer, in the order of the graph.
    """
    known = [(index, one) for index, one in enumerate(found) if one is not None]
    if not known:
        return None
    with figure(9.0, 2.3) as drawn:
        axis = drawn.subplots()
        at = [index for index, _ in known]
        axis.fill_between(
            at,
            [one.low for _, one in known],
            [one.high for _, one in known],
            color=SERIES[0],
            alpha=0.2,
            linewidth=0,
            step="mid",
            label="all",
        )
        axis.fill_between(
            at,
            [one.quantiles[0] for _, one in known],
            [one.quantiles[-1] for _, one in known],
            color=SERIES[0],
            alpha=0.55,
            linewidth=0,
            step="mid",
            label="the middle 98 %",
        )
        axis.plot(
            at,
            [one.quantiles[1] for _, one in known],
            color=SERIES[1],
            linewidth=1,
            drawstyle="steps-mid",
            label="median",
        )
        _scaled(axis, [one.limit for _, one in known])
        axis.set(xlabel="layer, in the order of the graph", ylabel=unit, xlim=(0, max(1, len(found) - 1)))
        axis.grid(visible=True, axis="y")
        axis.legend(loc="lower right", bbox_to_anchor=(1, 0.97), ncols=3, borderpad=0)
        widest = max(known, key=lambda pair: pair[1].limit)
        reach = f"{short(widest[1].low)} to {short(widest[1].high)}"
        text = f"{title}. The widest is layer {widest[0] + 1}: {reach}."
        return chart(drawn, name, title, text)


def sensitivity(name: str, found: Sensitivity) -> Chart | None:
    """The layers that compression costs most; None where there are none."""
    finite = {layer: score for layer, score in found.scores.items() if math.isfinite(score)}
    return bars(
        name, found.title, found.unit, dict(sorted(finite.items(), key=lambda pair: _rank(pair[1], found)))
    )


def bars(name: str, title: str, unit: str, values: Mapping[str, float]) -> Chart | None:
    """The first :data:`LISTED` values as horizontal bars, the first on top; None where there are none."""
    shown = list(values.items())[:LISTED]
    if not shown:
        return None
    with figure(9.0, 0.9 + 0.2 * len(shown)) as drawn:
        axis = drawn.subplots()
        axis.barh(range(len(shown)), [value for _, value in shown], color=SERIES[0], height=0.7)
        axis.set_yticks(range(len(shown)), [shortened(label, 60) for label, _ in shown])
        axis.invert_yaxis()
        axis.tick_params(axis="y", length=0)
        axis.set_xlabel(unit)
        axis.axvline(0, color=FAINT, linewidth=0.8)
        axis.grid(visible=True, axis="x")
        said = "; ".join(f"{shortened(label)}: {short(value)}" for label, value in shown[:5])
        return chart(drawn, name, title, f"{title}. {unit}. The first: {said}.")


def _rank(score: float, found: Sensitivity) -> float:
    return score if found.ascending else -score


def _scaled(axis: Any, limits: Sequence[float]) -> None:
    """A scale on which small layers show beside wide ones."""
    middle = sorted(limits)[len(limits) // 2]
    if max(limits) > 20 * middle:
        axis.set_yscale("symlog", linthresh=middle)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _zeros(layers: Sequence[Described]) -> str:
    size = sum(item.layer.size for item in layers)
    zeros = sum(item.layer.zeros for item in layers)
    most = max(layers, key=lambda item: item.layer.sparsity)
    return (
        f"{100 * zeros / max(size, 1):.1f} % of all weights, most in {shortened(most.layer.name)}"
        f" with {most.layer.sparsity:.1f} %"
    )
