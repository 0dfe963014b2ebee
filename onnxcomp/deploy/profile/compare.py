"""Two profiles side by side: what got faster, by the ONNX nodes that layers hold.

Two engines of one network fuse differently, so layers are not compared one by one but in the smallest groups
that hold the same nodes on both sides.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from onnxcomp.deploy.profile.layer import Layer
from onnxcomp.deploy.profile.profile import Profile

REFORMATS = "reformats"
NEGLIGIBLE = 0.01
MATTERS = {
    "machine": "machines",
    "gpu": "GPUs",
    "tensorrt": "versions of TensorRT",
    "power": "power modes",
    "clocks": "clocks",
    "batch": "batches",
}


@dataclass(frozen=True)
class Side:
    """Layers of one profile.

    Attributes:
        ms: their time together; None where there is none of them, or none was timed.
        precision: of most of their time.
        layers: their names.
    """

    ms: float | None
    precision: str
    layers: tuple[str, ...]


@dataclass(frozen=True)
class Change:
    """The same nodes in both profiles.

    Attributes:
        name: the node that does the work, :data:`REFORMATS`, or the layer's own name.
        nodes: ONNX nodes that both hold; empty where one side has none of them.
        saved: milliseconds less after than before; None where there is no time on one side.
    """

    name: str
    nodes: tuple[str, ...]
    before: Side
    after: Side
    saved: float | None

    @property
    def is_timed(self) -> bool:
        """Whether there is a time on one side at least."""
        return self.before.ms is not None or self.after.ms is not None


@dataclass(frozen=True)
class Comparison:
    """Two profiles.

    Attributes:
        throughput: queries a second, before and after.
        latency, gpu, layers: milliseconds, before and after: the median of a run, that of its GPU time, and
            the sum of the layers.
        int8: share of the time in INT8, before and after.
        changes: the largest difference first; what is in one profile alone last.
        notes: why the two may not be comparable.
    """

    throughput: tuple[float | None, float | None]
    latency: tuple[float | None, float | None]
    gpu: tuple[float | None, float | None]
    layers: tuple[float, float]
    int8: tuple[float | None, float | None]
    changes: tuple[Change, ...]
    notes: tuple[str, ...]


def compare(before: Profile, after: Profile) -> Comparison:
    """What changed from ``before`` to ``after``."""
    groups = _groups(before.layers, after.layers)
    changes = [change for sides in groups if (change := _change(*sides)).is_timed]
    return Comparison(
        throughput=(_throughput(before), _throughput(after)),
        latency=(_median(before, "latency"), _median(after, "latency")),
        gpu=(_median(before, "gpu"), _median(after, "gpu")),
        layers=(before.totals.ms, after.totals.ms),
        int8=(before.totals.int8, after.totals.int8),
        changes=tuple(sorted(changes, key=_order)),
        notes=(*_notes(before, after), *_alone(changes, before, after)),
    )


def _groups(before: Sequence[Layer], after: Sequence[Layer]) -> list[tuple[list[Layer], list[Layer]]]:
    """Layers of both sides that share a key, directly or through others; keys as in :func:`_keys`."""
    keyed = [[(layer, _keys(layer, count)) for layer in side] for side, count in _counted(before, after)]
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while parent.setdefault(key, key) != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    for _, (first, *others) in (*keyed[0], *keyed[1]):
        for other in others:
            parent[root(other)] = root(first)
    groups: dict[str, tuple[list[Layer], list[Layer]]] = defaultdict(lambda: ([], []))
    for index, side in enumerate(keyed):
        for layer, keys in side:
            groups[root(keys[0])][index].append(layer)
    return list(groups.values())


def _counted(*sides: Sequence[Layer]) -> list[tuple[Sequence[Layer], Counter[str]]]:
    """Each side with the number of layers that hold a node."""
    return [(side, Counter(node for layer in side for node in layer.nodes)) for side in sides]


def _keys(layer: Layer, count: Counter[str]) -> list[str]:
    """What ties layers together: their nodes, all reformats, or the layer's own name.

    A node that several layers hold (a DequantizeLinear before two convolutions) ties none that hold others.
    """
    if layer.nodes:
        own = [node for node in layer.nodes if count[node] == 1] or layer.nodes
        return [f"node {node}" for node in own]
    return [REFORMATS] if layer.reformat else [f"layer {layer.name}"]


def _change(before: list[Layer], after: list[Layer]) -> Change:
    sides = _side(before), _side(after)
    known = dict.fromkeys(node for layer in before for node in layer.nodes)
    also = {node for layer in after for node in layer.nodes}
    nodes = tuple(node for node in known if node in also)
    every = (*before, *after)
    name = _name(every, nodes)
    saved = sides[0].ms - sides[1].ms if sides[0].ms is not None and sides[1].ms is not None else None
    return Change(name, nodes, *sides, saved)


def _name(layers: Sequence[Layer], nodes: tuple[str, ...]) -> str:
    mains = [layer.main for layer in layers if layer.main]
    shown = next((main for main in mains if main in nodes), mains[0] if mains else "")
    return shown or (REFORMATS if layers[0].reformat else layers[0].name)


def _side(layers: list[Layer]) -> Side:
    timed = [layer.ms for layer in layers if layer.ms is not None]
    shares: dict[str, float] = defaultdict(float)
    for layer in layers:
        shares[layer.precision] += layer.ms or 0.0
    precision = max(shares, key=lambda each: shares[each]) if shares else ""
    return Side(math.fsum(timed) if timed else None, precision, tuple(layer.name for layer in layers))


def _order(change: Change) -> tuple[bool, float]:
    alone = change.before.ms or change.after.ms or 0.0
    return change.saved is None, -abs(change.saved if change.saved is not None else alone)


def _throughput(profile: Profile) -> float | None:
    return profile.summary.throughput if profile.summary else None


def _median(profile: Profile, name: str) -> float | None:
    times = getattr(profile.summary, name, None)
    return times.median if times else None


def _notes(before: Profile, after: Profile) -> tuple[str, ...]:
    notes = []
    for field, text in MATTERS.items():
        values = [getattr(each.conditions, field) for each in (before, after)]
        if values[0] != values[1]:
            notes.append(f"different {text}: {_known(values[0])} and {_known(values[1])}")
    if not any(layer.nodes for layer in before.layers) or not any(layer.nodes for layer in after.layers):
        notes.append("one of the two names no ONNX nodes: layers are matched by their own names")
    return tuple(notes)


def _alone(changes: Sequence[Change], before: Profile, after: Profile) -> list[str]:
    """How much time is in layers that the other profile does not have."""
    alone = [change for change in changes if change.saved is None]
    lost = math.fsum(change.before.ms or 0.0 for change in alone)
    new = math.fsum(change.after.ms or 0.0 for change in alone)
    if max(lost, new) <= NEGLIGIBLE * max(before.totals.ms, after.totals.ms):
        return []
    return [f"{lost:.3f} ms before and {new:.3f} ms after are in layers that the other profile does not have"]


def _known(value: object) -> str:
    return str(value) if value not in ("", None) else "not known"
