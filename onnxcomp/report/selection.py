"""Which layers to show, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from onnxcomp.report.layers import Layer

PRECISIONS = ("fp32", "int8", "int8 weights", "int8 w+a")
"""As :attr:`Layer.precision`; ``int8`` is both kinds."""
KEYS: Mapping[str, Callable[[Layer], Any]] = {
    "order": lambda layer: 0,
    "name": lambda layer: layer.name,
    "sparsity": lambda layer: -layer.sparsity,
    "parameters": lambda layer: -layer.parameters,
    "macs": lambda layer: float("inf") if layer.macs is None else -layer.macs,
}
"""What layers can be sorted by: the graph's order, the alphabet, or a number, the largest first."""


@dataclass(frozen=True)
class Selection:
    """Layers that fit all of this, in an order.

    Attributes:
        names: patterns as a shell's, of which one fits the layer's name; none fit all.
        ops: operator types; none mean all.
        precision: one of :data:`PRECISIONS`, or None.
        sort: one of :data:`KEYS`; layers that are equal keep the graph's order.
    """

    names: tuple[str, ...] = ()
    ops: tuple[str, ...] = ()
    precision: str | None = None
    sort: str = "order"

    def of(self, layers: Iterable[Layer]) -> list[Layer]:
        """Those of ``layers`` that fit."""
        return sorted(filter(self.fits, layers), key=KEYS[self.sort])

    def fits(self, layer: Layer) -> bool:
        """Whether a layer is to be shown."""
        return (
            (not self.names or any(fnmatchcase(layer.name, pattern) for pattern in self.names))
            and (not self.ops or layer.op in self.ops)
            and (self.precision is None or _is_precision(layer.precision, self.precision))
        )


def _is_precision(found: str, wanted: str) -> bool:
    return found == wanted or found.startswith(f"{wanted} ")
