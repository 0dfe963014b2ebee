"""What differs between two files: their networks' nodes, layers, numbers and values."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onnxcomp import model as models
from onnxcomp.deploy.targets import Target
from onnxcomp.model import Model
from onnxcomp.origin import origin
from onnxcomp.report.inspection import Inspection, describe, stored
from onnxcomp.report.layers import Layer

LAYER_FIELDS = (
    "op",
    "weight",
    "output",
    "groups",
    "parameters",
    "macs",
    "zeros",
    "sparsity",
    "pattern",
    "precision",
)


@dataclass(frozen=True)
class Change:
    """A value before and after."""

    before: Any
    after: Any


@dataclass(frozen=True)
class NodeName:
    """A node that only one of the files has.

    Attributes:
        name, op: of it.
        step: the pass that added it, ``""`` for a node of the network itself.
    """

    name: str
    op: str
    step: str


@dataclass(frozen=True)
class LayerDifference:
    """A layer of both files, or of one.

    Attributes:
        name: of it, after; of one that is gone, before.
        before, after: None where the file does not have it.
        changes: fields of :class:`onnxcomp.report.layers.Layer` that differ.
        values: the weight's stored values differ; of a layer that only one file has, False.
    """

    name: str
    before: Layer | None
    after: Layer | None
    changes: dict[str, Change]
    values: bool

    @property
    def differs(self) -> bool:
        return bool(self.changes) or self.values or None in (self.before, self.after)


@dataclass(frozen=True)
class Difference:
    """Two files.

    Attributes:
        before, after: each for itself.
        facts: form, interface and numbers that differ, by name.
        operators: number of nodes by operator where it differs, teacher and losses included.
        added, removed: nodes of the one and of the other, by name and operator.
        layers: every layer of either file, in the order of the second, those that are gone last.
        tensors: constants that both files call the same.
        tensors_changed: those of them whose type, shape or values differ.
    """

    before: Inspection
    after: Inspection
    facts: dict[str, Change]
    operators: dict[str, Change]
    added: list[NodeName]
    removed: list[NodeName]
    layers: list[LayerDifference]
    tensors: int
    tensors_changed: int

    @property
    def is_empty(self) -> bool:
        """Whether the networks are the same; the files' bytes may still differ."""
        return not (
            self.facts.keys() - {"file"}
            or self.added
            or self.removed
            or self.tensors_changed
            or any(layer.differs for layer in self.layers)
        )


@dataclass(frozen=True)
class _File:
    """What is kept of a file while the other one is read."""

    inspection: Inspection
    nodes: dict[tuple[str, str], NodeName]
    constants: dict[str, str]


def difference(
    before: Path, after: Path, targets: Sequence[Target] = (), *, deflate: bool = False
) -> Difference:
    """Compare two files; one network at a time is in memory.

    Args:
        targets, deflate: as for :func:`onnxcomp.report.inspection.inspect`.

    Raises:
        ModelError: as :func:`onnxcomp.model.load`.
    """
    first, second = (_read(path, targets, deflate) for path in (before, after))
    common = first.constants.keys() & second.constants.keys()
    changed = {name for name in common if first.constants[name] != second.constants[name]}
    return Difference(
        before=first.inspection,
        after=second.inspection,
        facts=_facts(first.inspection, second.inspection),
        operators=_changes(*(Counter(op for _, op in file.nodes) for file in (first, second))),
        added=[node for key, node in second.nodes.items() if key not in first.nodes],
        removed=[node for key, node in first.nodes.items() if key not in second.nodes],
        layers=_layers(first.inspection.layers, second.inspection.layers, changed),
        tensors=len(common),
        tensors_changed=len(changed),
    )


def _read(path: Path, targets: Sequence[Target], deflate: bool) -> _File:
    model = models.load(path)
    return _File(describe(model, stored(path, deflate=deflate), targets), _nodes(model), _constants(model))


def _nodes(model: Model) -> dict[tuple[str, str], NodeName]:
    nodes = ((node.name, node.op) for node in model.graph.nodes)
    sources = ((name, op, origin(name, op)) for name, op in nodes)
    return {(name, op): NodeName(name, op, source.step if source else "") for name, op, source in sources}


def _constants(model: Model) -> dict[str, str]:
    """A digest of each constant by name."""
    return {name: _digest(tensor.values) for name, tensor in model.constants().items()}


def _digest(values: np.ndarray) -> str:
    digest = hashlib.blake2b(f"{values.dtype} {values.shape} ".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(values).data if values.dtype.kind != "O" else repr(values).encode())
    return digest.hexdigest()


def _facts(first: Inspection, second: Inspection) -> dict[str, Change]:
    return _changes(*(_facts_of(found) for found in (first, second)))


def _facts_of(found: Inspection) -> dict[str, Any]:
    plain = (
        "form",
        "recipe",
        "opset",
        "inputs",
        "outputs",
        "classes",
        "normalised",
        "macs",
        "other_nodes",
        "losses",
    )
    return {
        **{name: getattr(found, name) for name in plain},
        **{name: asdict(value) for name, value in (("parameters", found.parameters), ("file", found.file))},
    }


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Change]:
    names = dict.fromkeys((*before, *after))
    pairs = {name: Change(before.get(name), after.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if pair.before != pair.after}


def _layers(first: Sequence[Layer], second: Sequence[Layer], changed: set[str]) -> list[LayerDifference]:
    """Layers meet by name, those left over by the name of their weight: a new export may rename nodes."""
    names = {layer.name: layer for layer in first}
    tensors = {layer.tensor: layer for layer in first if layer.name not in {after.name for after in second}}
    found, seen = [], set[str]()
    for after in second:
        before = names.get(after.name) or tensors.get(after.tensor)
        if before is not None and before.name in seen:
            before = None
        if before is not None:
            seen.add(before.name)
        found.append(_layer(before, after, changed))
    gone = (layer for layer in first if layer.name not in seen)
    return [*found, *(_layer(layer, None, changed) for layer in gone)]


def _layer(before: Layer | None, after: Layer | None, changed: set[str]) -> LayerDifference:
    known = after or before
    assert known is not None
    if before is None or after is None:
        return LayerDifference(known.name, before, after, {}, False)
    fields = ({name: getattr(layer, name) for name in ("name", *LAYER_FIELDS)} for layer in (before, after))
    values = before.tensor == after.tensor and after.tensor in changed
    return LayerDifference(known.name, before, after, _changes(*fields), values)
