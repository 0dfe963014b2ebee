"""The report as one HTML page that asks nothing of the network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from importlib.resources import files as resources
from typing import Any

from onnxcomp import __version__, extras
from onnxcomp.deploy.estimate import rows as estimate_rows
from onnxcomp.page import found, origins, table
from onnxcomp.page.charts import curves, layers, svg
from onnxcomp.page.charts.scatter import Point, scatter
from onnxcomp.page.charts.svg import Chart
from onnxcomp.page.estimates import Column
from onnxcomp.page.histogram import Histogram
from onnxcomp.page.network import Described, Network
from onnxcomp.page.report import Report
from onnxcomp.page.text import count, figure
from onnxcomp.report.inspection import dimensions
from onnxcomp.visible import visible

LISTED = 10
"""Layers of an estimate."""
WIDTH, HEIGHT = 96.0, 20.0
"""Of a histogram in a table, in its own units."""


def require() -> None:
    """Refuse before any work where a package is missing.

    Raises:
        MissingPackageError: it is.
    """
    extras.optional("jinja2", svg.EXTRA)
    svg.require()


def render(report: Report) -> str:
    """The page: the same report gives the same text.

    Raises:
        MissingPackageError: Jinja2 or matplotlib is missing.
    """
    jinja2 = extras.optional("jinja2", svg.EXTRA)
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page: str = environment.from_string(_resource("page.html")).render(_context(report))
    return page


def title(report: Report) -> str:
    """What the page is about."""
    return f"Compression report: {', '.join(report.given)}"


def _resource(name: str) -> str:
    return (resources("onnxcomp.page") / name).read_text(encoding="utf-8")


def _context(report: Report) -> dict[str, Any]:
    script = _resource("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts: dict[str, Any] = {
        "networks": {
            "columns": table.columns(report),
            "rows": table.rows(report),
            "names": table.names(report),
            "notes": table.notes(report),
        },
        "tradeoffs": list(_tradeoffs(report)),
        "estimates": [_estimates(report, column) for column in report.columns],
        "trainings": list(_trainings(report)),
        "zeros": layers.sparsity("zeros", report.compressed),
        "layers": [_layers(report, number, one) for number, one in enumerate(report.compressed)],
        "sensitivities": [
            {
                "title": one.title,
                "chart": layers.sensitivity(f"sensitivity{number}", one),
                "columns": one.columns,
                "rows": one.rows,
            }
            for number, one in enumerate(report.sensitivities)
        ],
        "profiles": [_profile(number, one) for number, one in enumerate(report.profiles)],
        "origins": origins.origins(report),
    }
    return {
        **parts,
        "title": title(report),
        "version": __version__,
        "problems": report.problems,
        "contents": _contents(report, parts),
        "style": _resource("page.css"),
        "script": script,
        "script_digest": f"sha256-{digest}",
    }


def _contents(report: Report, parts: dict[str, Any]) -> list[tuple[str, str]]:
    places = (
        ("networks", "Networks", report.networks),
        ("estimates", "Estimates", parts["estimates"]),
        ("training", "Training", parts["trainings"]),
        ("layers", "Layers", parts["layers"]),
        ("sensitivity", "Sensitivity", True),
        ("profile", "Profile", True),
        ("reproduce", "Reproduce", True),
    )
    return [(name, words) for name, words, there in places if there]


def _tradeoffs(report: Report) -> Iterator[Chart]:
    """Accuracy against size, and against each kind of latency: they are not of one machine."""
    rated = [(one, one.accuracy.top1) for one in report.networks if one.accuracy is not None]
    raw = [Point(one.label, one.size.raw / 1e6, top1) for one, top1 in rated]
    deflated = [Point(one.label, one.size.deflated / 1e6, top1) for one, top1 in rated]
    timed = [
        Point(one.label, one.latency.median, top1)
        for one, top1 in rated
        if one.latency is not None and one.latency.median > 0
    ]
    charts = [
        scatter("size", "Accuracy against size", "MB", [("deflated", deflated), ("raw file", raw)]),
        scatter(
            "latency",
            "Accuracy against latency, measured here",
            "ms, median, ONNX Runtime",
            [("", timed)],
        ),
    ]
    estimated = [
        (
            f"{column.target} (estimate)",
            [
                Point(one.label, column.cells[one.digest].us / 1000, top1)
                for one, top1 in rated
                if one.digest in column.cells
            ],
        )
        for column in report.columns
    ]
    unit = "ms at batch 1, estimate"
    charts.append(scatter("targets", "Accuracy against latency, estimates", unit, estimated))
    yield from (one for one in charts if one is not None)


def _estimates(report: Report, column: Column) -> dict[str, Any]:
    known = [(one, column.cells[one.digest]) for one in report.networks if one.digest in column.cells]
    slowest = max((cell.us for _, cell in known), default=0.0)
    rows = [
        (
            one.label,
            f"{cell.us / 1000:.3f}",
            f"{slowest / cell.us:.2f}",
            f"{100 * cell.int8:.0f} %",
            *(
                f"{100 * sum(layer.share for layer in cell.layers if layer.bound == kind and layer.us):.0f} %"
                for kind in ("arithmetic", "memory", "launch")
            ),
        )
        for one, cell in known
    ]
    details = [
        {
            "title": f"{one.label} on {column.target}: the {LISTED} layers that take most, estimates",
            "lines": [visible(line.strip()) for line in estimate_rows.lines(cell)],
            "columns": estimate_rows.COLUMNS,
            "rows": [tuple(map(visible, row)) for row in estimate_rows.rows(cell, LISTED)],
        }
        for one, cell in known
        if one.compressed
    ]
    return {
        "title": f"{column.target}: {column.device} (estimate)",
        "columns": (
            *("network", "ms, estimate", "times as fast as the slowest", "time in INT8"),
            *("bound by arithmetic", "by memory", "by launches"),
        ),
        "rows": rows,
        "details": details,
    }


def _trainings(report: Report) -> Iterator[dict[str, Any]]:
    number = 0
    for run in report.runs:
        for one in run.trainings:
            stages = [
                (str(place), f"{stage.first:g} to {stage.last:g}", visible(", ".join(stage.losses)))
                for place, stage in enumerate(one.stages, 1)
            ]
            yield {
                "label": one.label,
                "chart": curves.curves(f"training{number}", one),
                "stages": stages if len(stages) > 1 else [],
                "settings": ", ".join(
                    visible(f"{name} {value}")
                    for name, value in one.settings.items()
                    if value not in (None, "", False)
                ),
            }
            number += 1


def _layers(report: Report, number: int, network: Network) -> dict[str, Any]:
    seen = report.activations.get(network.digest, {})
    weights = layers.ranges(
        f"weights{number}",
        f"Weights of {network.label}, zeros left out",
        "weight",
        [item.weights for item in network.layers],
    )
    activations = layers.ranges(
        f"activations{number}",
        f"What the layers of {network.label} read, on real images",
        "activation",
        [seen.get(item.activation) for item in network.layers],
    )
    note = "Histograms: zeros left out, heights are square roots of counts."
    if not seen:
        note += " Without --data the column reads shows the reach of the INT8 scale; with it, a histogram."
    return {
        "label": network.label,
        "charts": [chart for chart in (weights, activations) if chart is not None],
        "note": note,
        "rows": [_layer(item, seen.get(item.activation)) for item in network.layers],
    }


def _layer(item: Described, seen: Histogram | None) -> dict[str, Any]:
    layer, reach = item.layer, item.reach
    return {
        "name": visible(layer.name),
        "op": visible(layer.op),
        "weight": dimensions(layer.weight),
        "parameters": count(layer.parameters),
        "macs": count(layer.macs),
        "share": f"{layer.sparsity:.1f}",
        "precision": layer.precision,
        "weights": _spark(item.weights),
        "activations": _spark(seen),
        "reach": "-" if reach is None else f"{figure(reach[0])} to {figure(reach[1])}",
    }


def _spark(one: Histogram | None) -> dict[str, str] | None:
    """A histogram as the outline of its bars."""
    if one is None:
        return None
    step = WIDTH / len(one.heights)
    steps = "".join(f"V{HEIGHT * (1 - height):.3g}h{step:.3g}" for height in one.heights)
    return {"path": f"M0 {HEIGHT:g}{steps}V{HEIGHT:g}z", "reach": f"{figure(one.low)} to {figure(one.high)}"}


def _profile(number: int, one: found.Profiled) -> dict[str, Any]:
    from onnxcomp.deploy.profile import rows

    timed = [(layer.name, layer.ms) for layer in one.profile.layers if layer.ms is not None]
    slowest = {visible(name): ms for name, ms in sorted(timed, key=lambda pair: -pair[1])}
    return {
        "label": one.label,
        "chart": layers.bars(f"profile{number}", f"Slowest layers, measured: {one.label}", "ms", slowest),
        "lines": found.profile_lines(one),
        "columns": rows.COLUMNS,
        "rows": rows.rows(one.profile.layers),
    }
