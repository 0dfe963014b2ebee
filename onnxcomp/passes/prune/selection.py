"""Which weights the pass ``prune`` masks, and why it leaves the others dense."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.passes.base import excluded
from onnxcomp.passes.prune.patterns import Pattern
from onnxcomp.passes.prune.plan import layout


@dataclass(frozen=True)
class Selection:
    """Weights by name, in graph order.

    Attributes:
        chosen: those to mask, each with its first use.
        shares: of those, the ones whose share of zeros the option ``layers`` gives.
        left: why each other weight stays dense; ``""`` where options say so.
    """

    chosen: Mapping[str, graphs.Weight]
    shares: Mapping[str, float]
    left: Mapping[str, str]


def select(
    graph: gs.Graph,
    pattern: Pattern,
    *,
    kept: Sequence[int],
    exclude: Sequence[str],
    layers: Mapping[str, float],
) -> Selection:
    """Choose among the weights of the student.

    Args:
        kept: positions in graph order that stay dense unless ``layers`` names them.
        exclude: patterns of weight or node names that stay dense.
        layers: share of zeros by pattern of weight or node names; the first that matches counts.
    """
    every = list(graphs.weights(graph))
    uses: dict[str, list[graphs.Weight]] = {}
    for weight in every:
        uses.setdefault(weight.name, []).append(weight)
    ends = {every[position].name for position in kept if every}
    chosen: dict[str, graphs.Weight] = {}
    shares: dict[str, float] = {}
    left: dict[str, str] = {}
    for name, found in uses.items():
        given = _share(found, layers)
        if given == 0 or any(excluded(use, exclude) for use in found) or (given is None and name in ends):
            left[name] = ""
        elif reason := _obstacle(found, pattern):
            left[name] = reason
        else:
            chosen[name] = found[0]
            if given is not None:
                shares[name] = given
    return Selection(chosen, shares, left)


def _share(uses: Sequence[graphs.Weight], layers: Mapping[str, float]) -> float | None:
    return next((share for p, share in layers.items() if any(excluded(use, [p]) for use in uses)), None)


def _obstacle(uses: Sequence[graphs.Weight], pattern: Pattern) -> str:
    """Why a weight with these uses cannot have the pattern, or ``""``."""
    if pattern.size == 1:
        return ""
    for use in uses:
        if layout(use) != layout(uses[0]):
            return "another node uses it transposed"
        reason = pattern.obstacle(*channels(use))
        if reason:
            return reason
    return ""


def channels(weight: graphs.Weight) -> tuple[int, int]:
    """Outputs and inputs of a weight, of one group of a grouped convolution."""
    at = layout(weight)
    outputs, inputs = int(weight.tensor.shape[at.outputs]), int(weight.tensor.shape[at.inputs])
    groups = int(weight.node.attrs.get("group", 1))
    if weight.node.op == "ConvTranspose":  # whose weight has the inputs of all groups
        return outputs, inputs // groups
    return outputs // groups, inputs


def shadowed(graph: gs.Graph, patterns: Sequence[str]) -> str:
    """The first pattern all of whose weights earlier ones match, or ``""``."""
    for index, pattern in enumerate(patterns):
        found = [weight for weight in graphs.weights(graph) if excluded(weight, [pattern])]
        if found and all(excluded(weight, patterns[:index]) for weight in found):
            return pattern
    return ""


def nearest(graph: gs.Graph, pattern: str) -> str:
    """What to do about a pattern that matches nothing: the weight or node whose name is most like it."""
    names = [name for weight in graphs.weights(graph) for name in (weight.name, weight.node.name)]
    near = difflib.get_close_matches(pattern, names, n=1, cutoff=0.4)
    return f"did you mean {near[0]}?" if near else "see onnxcomp inspect"


def lines(left: Mapping[str, str]) -> Iterable[str]:
    """Which weights options leave dense, and which are left alone and why; a line for each, if there are."""
    dense = [name for name, reason in left.items() if not reason]
    alone = [f"{name} ({reason})" for name, reason in left.items() if reason]
    if dense:
        yield f"left dense: {', '.join(dense)}"
    if alone:
        yield f"left alone: {', '.join(alone)}"
