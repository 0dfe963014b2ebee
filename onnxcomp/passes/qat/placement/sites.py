"""A placement: which tensors get a Q/DQ pair, which weights, and what stays float and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import onnx_graphsurgeon as gs

from onnxcomp.graphs import Weight
from onnxcomp.passes.qat.grid import Grid


@dataclass
class Site:
    """An activation that gets a Q/DQ pair.

    Attributes:
        tensor: what is quantised.
        readers: nodes that read the quantised tensor; all others go on reading the float one.
        reasons: why, in the order of the decisions.
    """

    tensor: gs.Tensor
    readers: list[gs.Node]
    reasons: list[str]


@dataclass(frozen=True)
class Left:
    """A node that stays float.

    Attributes:
        node: its name.
        op: its operator.
        reason: why.
    """

    node: str
    op: str
    reason: str


@dataclass
class Placement:
    """Where Q/DQ is to stand in a graph.

    Attributes:
        grid: the integers of activations.
        layers: weighted layers whose weights are quantised.
        sites: by the name of the tensor, in the order of the graph.
        ties: by the name of a tensor the name of the one that stands for all that share its scale;
            tensors that are not here have a scale of their own.
        left: nodes that stay float.
        notes: what the user should know besides, a line each.
    """

    grid: Grid
    layers: list[Weight] = field(default_factory=list)
    sites: dict[str, Site] = field(default_factory=dict)
    ties: dict[str, str] = field(default_factory=dict)
    left: list[Left] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def quantize(self, tensor: gs.Tensor, readers: Iterable[gs.Node], reason: str) -> None:
        """Let ``readers`` read the quantised ``tensor``."""
        site = self.sites.setdefault(tensor.name, Site(tensor, [], []))
        known = {id(node) for node in site.readers}
        site.readers += [node for node in readers if id(node) not in known]
        if reason not in site.reasons:
            site.reasons.append(reason)

    def reads(self, node: gs.Node) -> bool:
        """Whether ``node`` reads something quantised."""
        return any(node is reader for site in self.sites.values() for reader in site.readers)

    def tie(self, names: Iterable[str]) -> None:
        """Let tensors share one scale, together with all that share one with any of them."""
        roots = sorted({self.root(name) for name in names})
        for name in roots:
            self.ties[name] = roots[0]

    def root(self, name: str) -> str:
        """The tensor that stands for all that share a scale with ``name``."""
        while self.ties.get(name, name) != name:
            name = self.ties[name]
        return name

    def groups(self) -> list[list[Site]]:
        """Sites by scale, in the order of the graph."""
        found: dict[str, list[Site]] = {}
        for name, site in self.sites.items():
            found.setdefault(self.root(name), []).append(site)
        return list(found.values())

    def lines(self) -> list[str]:
        """The decisions in a few lines: counts by reason, examples of what stays float, and notes."""
        reasons = Counter(reason for site in self.sites.values() for reason in site.reasons)
        lines = [f"Q/DQ on {count} {reason}" for reason, count in reasons.items()]
        shared = [group for group in self.groups() if len(group) > 1]
        if shared:
            lines.append(f"{sum(map(len, shared))} of them share {len(shared)} scales")
        by_reason: dict[tuple[str, str], list[str]] = {}
        for one in self.left:
            by_reason.setdefault((one.op, one.reason), []).append(one.node)
        for (op, reason), names in by_reason.items():
            which = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            lines.append(f"float: {len(names)} {op} ({which}): {reason}")
        return [*lines, *self.notes]
