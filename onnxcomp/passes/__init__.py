"""The passes, by name. A third party adds one through the entry-point group ``onnxcomp.passes``."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING

from onnxcomp.errors import RecipeError
from onnxcomp.nearest import meant

if TYPE_CHECKING:
    from onnxcomp.passes.base import Pass

ENTRY_POINTS = "onnxcomp.passes"
BUILT_IN = {
    "channels": "onnxcomp.passes.channels:Channels",
    "prune": "onnxcomp.passes.prune:Prune",
    "qat": "onnxcomp.passes.qat:Qat",
    "distill": "onnxcomp.passes.distill:Distill",
}


def available() -> dict[str, str]:
    """``module:Class`` by pass name, built in and from entry points.

    Raises:
        RecipeError: a third party claims a name that is taken.
    """
    table = dict(BUILT_IN)
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        if table.get(entry.name, entry.value) != entry.value:
            raise RecipeError(
                f"the pass {entry.name} is provided by {table[entry.name]} and by {entry.value}",
                fix="uninstall one of the packages",
            )
        table[entry.name] = entry.value
    return table


def find(name: str) -> type[Pass]:
    """The class of the pass called ``name``.

    Raises:
        RecipeError: there is none; suggests the nearest name.
    """
    table = available()
    if name not in table:
        raise RecipeError(
            f"unknown pass {name}", fix=meant(name, table, f"the passes are {', '.join(table)}", alike=0.5)
        )
    module, _, attribute = table[name].partition(":")
    found: type[Pass] = getattr(importlib.import_module(module), attribute)
    return found
