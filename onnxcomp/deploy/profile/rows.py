"""A profile, and the comparison of two, as rows of tables and lines of text."""

from __future__ import annotations

from collections.abc import Sequence

from onnxcomp.deploy.profile.compare import Change, Comparison, Side
from onnxcomp.deploy.profile.layer import Layer
from onnxcomp.deploy.profile.profile import Profile
from onnxcomp.deploy.trtexec.log import Times

COLUMNS = ("layer", "ms", "share", "precision", "sparse", "type", "ONNX nodes", "kernel")
OPTIONAL = ("kernel", "type", "sparse")
CHANGES = ("ONNX nodes", "before", "after", "saved", "speed-up", "precision", "layers")
CHANGES_OPTIONAL = ("layers", "precision")
SHOWN_NODES = 3
NONE = "-"


def rows(layers: Sequence[Layer]) -> list[list[str]]:
    """One row a layer, with :data:`COLUMNS`; the slowest first, those without a time last."""
    ordered = sorted(layers, key=lambda layer: (layer.ms is None, -(layer.ms or 0.0)))
    return [
        [
            printable(layer.name),
            ms(layer.ms),
            percent(layer.share),
            layer.precision or NONE,
            _sparse(layer),
            printable(layer.kind) or NONE,
            printable(_nodes(layer)),
            printable(layer.tactic) or NONE,
        ]
        for layer in ordered
    ]


def times(profile: Profile) -> list[str]:
    """Throughput and latency, a line each; empty where trtexec gave no summary."""
    summary = profile.summary
    if summary is None:
        return []
    lines = []
    if summary.throughput is not None:
        batch = profile.conditions.batch
        images = f" ({summary.throughput * batch:.1f} images a second)" if batch and batch > 1 else ""
        lines.append(f"throughput: {summary.throughput:.1f} queries a second{images}")
    named = ("latency", summary.latency), ("GPU time", summary.gpu), ("enqueue", summary.enqueue)
    lines += [f"{name}: {statistics(found)}" for name, found in named if found]
    return lines


def coverage(profile: Profile) -> list[str]:
    """What runs in INT8, the reformats, the sparse layers, the conditions: a line each."""
    totals, conditions = profile.totals, profile.conditions
    lines = []
    if totals.int8 is not None:
        products = f", {percent(totals.int8_products)} of convolutions and products"
        lines.append(f"INT8: {percent(totals.int8)} of the layers' time{products}")
    if totals.ms:
        spread = sorted(totals.precisions.items(), key=lambda each: -each[1])
        listed = ", ".join(f"{name or 'not known'} {percent(share)}" for name, share in spread if share)
        lines.append(f"time by precision: {listed}")
    if totals.reformats:
        share = percent(totals.reformats_ms / totals.ms if totals.ms else None)
        lines.append(f"reformats: {totals.reformats}, {ms(totals.reformats_ms)} ms ({share})")
    if totals.sparse is not None:
        lines.append(
            f"2:4 sparse weights: {totals.sparse} layers, sparse kernel: {totals.sparse_kernels or 0}"
        )
    named = ("power mode", conditions.power), ("clocks", conditions.clocks)
    lines += [f"{name}: {value}" for name, value in named if value]
    notes = (f"note: {note}" for note in (*conditions.notes, *profile.notes))
    return [printable(line) for line in (*lines, *notes)]


def title(profile: Profile) -> str:
    """What was measured, on what."""
    conditions = profile.conditions
    version = f"TensorRT {conditions.tensorrt}" if conditions.tensorrt else ""
    batch = f"batch {conditions.batch}" if conditions.batch else ""
    told = (conditions.engine, conditions.gpu, version, conditions.machine, batch)
    return printable(", ".join(each for each in told if each))


def changes(comparison: Comparison) -> list[list[str]]:
    """One row a group of layers, with :data:`CHANGES`; the largest difference first."""
    return [
        [
            printable(change.name),
            ms(change.before.ms),
            ms(change.after.ms),
            ms(change.saved),
            _ratio(change),
            _both(change.before.precision, change.after.precision),
            _both(_count(change.before), _count(change.after)),
        ]
        for change in comparison.changes
    ]


def differences(comparison: Comparison) -> list[str]:
    """Of the whole: a line each, and what to know."""
    lines = []
    for name, (before, after), unit, faster in (
        ("throughput", comparison.throughput, "queries a second", True),
        ("latency (median)", comparison.latency, "ms", False),
        ("GPU time (median)", comparison.gpu, "ms", False),
        ("sum of layers", comparison.layers, "ms", False),
    ):
        if before and after:
            ratio = after / before if faster else before / after
            lines.append(f"{name}: {_figure(before)} to {_figure(after)} {unit}, {ratio:.2f} times as fast")
    if comparison.int8 != (None, None):
        lines.append(
            f"INT8: {percent(comparison.int8[0])} to {percent(comparison.int8[1])} of the layers' time"
        )
    return [printable(line) for line in (*lines, *(f"note: {note}" for note in comparison.notes))]


def statistics(found: Times) -> str:
    """Milliseconds: median, mean and the rest in one line."""
    named = ("median", found.median), ("mean", found.mean), ("min", found.min), ("max", found.max)
    ends = [(f"{percent:g}th percentile", value) for percent, value in found.percentiles]
    return ", ".join(f"{name} {ms(value)} ms" for name, value in (*named, *ends) if value is not None)


def printable(text: str) -> str:
    """Without what would move a terminal's cursor or colour it: names are whatever a file holds."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def ms(value: float | None) -> str:
    """Milliseconds to a tenth of a microsecond."""
    return NONE if value is None else f"{value:.4f}"


def percent(share: float | None) -> str:
    """A share from 0 to 1."""
    return NONE if share is None else f"{100 * share:.1f} %"


def _figure(value: float) -> str:
    return f"{value:.1f}" if value >= 1000 else f"{value:.4g}"


def _sparse(layer: Layer) -> str:
    if layer.sparse_kernel:
        return "kernel"
    return "weights" if layer.sparse else NONE


def _nodes(layer: Layer) -> str:
    if layer.reformat and layer.beside:
        return f"(for {layer.beside[0]})"
    if layer.ends:
        return f"{layer.nodes[0]} to {layer.nodes[-1]}" if layer.nodes else NONE
    more = len(layer.nodes) - SHOWN_NODES
    ordered = sorted(layer.nodes, key=lambda node: node != layer.main)
    shown = ", ".join(ordered[:SHOWN_NODES])
    return (f"{shown} and {more} more" if more > 0 else shown) or NONE


def _ratio(change: Change) -> str:
    if not change.before.ms or not change.after.ms:
        return NONE
    return f"{change.before.ms / change.after.ms:.2f}"


def _both(before: str, after: str) -> str:
    return (before or NONE) if before == after else f"{before or NONE} to {after or NONE}"


def _count(side: Side) -> str:
    return str(len(side.layers))
