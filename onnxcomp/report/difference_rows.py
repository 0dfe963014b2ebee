"""A difference of two files as rows of tables, and as what JSON holds of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from onnxcomp.report.difference import Difference, LayerDifference, NodeName
from onnxcomp.report.inspection import Inspection, byte_text, dimensions
from onnxcomp.report.layers import Layer
from onnxcomp.report.selection import Selection

FACTS = ("what", "before", "after", "change")
LAYERS = (
    "layer",
    "status",
    "op",
    "weight",
    "output",
    "parameters",
    "MACs",
    "sparsity",
    "pattern",
    "precision",
)
OPTIONAL_LAYERS = ("output", "op", "parameters", "weight", "pattern")
NODES = ("nodes", "count", "operator", "by pass", "for example")
UNKNOWN = "-"


def fact_rows(found: Difference) -> list[tuple[str, str, str, str]]:
    """The numbers of both files, and what else differs, as cells for :data:`FACTS`."""
    first, second = found.before, found.after
    rows = [
        _text(name, before, after)
        for name, before, after in zip(_names(second), _texts(first), _texts(second), strict=True)
        if before != after
    ]
    rows += [
        _text("nodes", str(_nodes(first)), str(_nodes(second))),
        *(_number(name, of(first), of(second), f"{{:,{kind}}}".format) for name, of, kind in NUMBERS),
        _number("file size", first.file.raw, second.file.raw, byte_text),
    ]
    if first.file.deflated is not None:
        rows.append(_number("deflated", first.file.deflated, second.file.deflated, byte_text))
    return rows


NUMBERS: tuple[tuple[str, Callable[[Inspection], float | None], str], ...] = (
    ("parameters", lambda found: found.parameters.total, ""),
    ("non-zero", lambda found: found.parameters.nonzero, ""),
    ("non-zero in INT8", lambda found: found.parameters.nonzero_int8, ""),
    ("MACs per image", lambda found: found.macs, ""),
    ("zero weights %", lambda found: _zero_share(found), ".1f"),
)


def _names(found: Inspection) -> tuple[str, ...]:
    return ("form", "recipe", "opset", "inputs", "outputs", "classes", "normalisation", "losses")


def _texts(found: Inspection) -> tuple[str, ...]:
    return (
        found.form,
        found.recipe or "none",
        str(found.opset),
        *(
            ", ".join(f"{name} {dimensions(shape)}" for name, shape in tensors.items())
            for tensors in (found.inputs, found.outputs)
        ),
        str(found.classes),
        "in the file" if found.normalised else "not in the file",
        ", ".join(f"{weight:g} {name}" for name, weight in found.losses.items()) or "none",
    )


def _nodes(found: Inspection) -> int:
    return sum(found.nodes.values()) + found.other_nodes


def _zero_share(found: Inspection) -> float:
    account = found.accounting
    return 100 * account.zeros / max(account.weights, 1)


def _text(name: str, before: str, after: str) -> tuple[str, str, str, str]:
    return name, before, after, "" if before == after else "differs"


def _number(
    name: str, before: float | None, after: float | None, text: Callable[[Any], str]
) -> tuple[str, str, str, str]:
    cells = [UNKNOWN if value is None else text(value) for value in (before, after)]
    if before is None or after is None:
        change = UNKNOWN
    elif name.endswith("%"):
        change = _points(after - before)
    else:
        change = _relative(before, after)
    return name, cells[0], cells[1], change


def _points(change: float) -> str:
    if not change:
        return "same"
    return f"{change:+.1f} points" if abs(change) >= 0.05 else "under 0.1 points"


def _relative(before: float, after: float) -> str:
    """``-37.5 %``, or in words where nothing changed or nothing was there."""
    if before == after:
        return "same"
    return f"{100 * (after - before) / before:+.1f} %" if before else "new"


def layer_rows(found: Difference, chosen: Selection) -> list[tuple[str, ...]]:
    """Cells for :data:`LAYERS` of the layers that differ; ``->`` stands between what was and what is."""
    return [_layer_row(layer) for layer in select(found, chosen)]


def select(found: Difference, chosen: Selection) -> list[LayerDifference]:
    """The layers that differ and fit; of one that is gone what it was counts, of the others what it is."""
    known = {id(_known(layer)): layer for layer in found.layers if layer.differs}
    return [known[id(layer)] for layer in chosen.of(_known(item) for item in known.values())]


def _known(layer: LayerDifference) -> Layer:
    known = layer.after or layer.before
    assert known is not None
    return known


def status(layer: LayerDifference) -> str:
    """``added``, ``removed``, ``changed``, ``other values`` or ``same``."""
    if layer.before is None or layer.after is None:
        return "added" if layer.before is None else "removed"
    if layer.changes:
        return "changed"
    return "other values" if layer.values else "same"


def _layer_row(layer: LayerDifference) -> tuple[str, ...]:
    texts: Sequence[Callable[[Layer], str]] = (
        lambda layer: layer.op,
        lambda layer: dimensions(layer.weight),
        lambda layer: dimensions(layer.output),
        lambda layer: f"{layer.parameters:,}",
        lambda layer: UNKNOWN if layer.macs is None else f"{layer.macs:,}",
        lambda layer: f"{layer.sparsity:.1f} %",
        lambda layer: layer.pattern,
        lambda layer: layer.precision,
    )
    sides = [side for side in (layer.before, layer.after) if side is not None]
    name = " -> ".join(dict.fromkeys(side.name for side in sides))
    return (
        name,
        status(layer),
        *(" -> ".join(dict.fromkeys(text(side) for side in sides)) for text in texts),
    )


def node_rows(found: Difference) -> list[tuple[str, ...]]:
    """Cells for :data:`NODES`: nodes that only one file has, by operator and the pass that added them."""
    rows = list[tuple[str, ...]]()
    for what, nodes in (("added", found.added), ("removed", found.removed)):
        groups = defaultdict[tuple[str, str], list[NodeName]](list)
        for node in nodes:
            groups[node.op, node.step].append(node)
        for (op, step), members in sorted(groups.items(), key=lambda item: -len(item[1])):
            rows.append((what, f"{len(members):,}", op, step or UNKNOWN, members[0].name))
    return rows


def as_json(found: Difference, chosen: Selection) -> dict[str, Any]:
    """What ``inspect --diff --json`` prints: only what differs, but for the counts of tensors."""
    return {
        "same": found.is_empty,
        "facts": found.facts,
        "operators": found.operators,
        "nodes": {"added": found.added, "removed": found.removed},
        "layers": [_json_layer(layer) for layer in select(found, chosen)],
        "tensors": {"in_both": found.tensors, "changed": found.tensors_changed},
    }


def _json_layer(layer: LayerDifference) -> dict[str, Any]:
    whole = layer.before is None or layer.after is None
    return {
        "name": layer.name,
        "status": status(layer),
        "changes": layer.changes,
        "values_changed": layer.values,
        "layer": _known(layer) if whole else None,
    }
