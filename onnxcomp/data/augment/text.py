"""The text form of an augmentation: ``crop,flip,randaugment{n=2 m=9},cutout``."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from onnxcomp.data.augment.augmentation import NONE, Augmentation
from onnxcomp.data.augment.basic import Crop, Cutout, Flip
from onnxcomp.data.augment.policy import KINDS, Policy
from onnxcomp.data.augment.randaugment import RandAugment
from onnxcomp.data.augment.resized_crop import ResizedCrop
from onnxcomp.data.augment.stage import Stage
from onnxcomp.errors import DataError
from onnxcomp.nearest import meant

WHERE = "augmentation"
STANDARD = "standard"
STAGES: Mapping[str, Callable[..., Stage]] = {
    **{kind.name: kind for kind in (Crop, ResizedCrop, Flip, Cutout, RandAugment)},
    **{name: partial(Policy, name) for name in KINDS},
}
NAMES = (NONE, STANDARD, *STAGES)
_ITEM = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:\{([^{}]*)\})?\s*(?:,|$)")
_OPTION = re.compile(r"\s*([A-Za-z]\w*)=([^\s{}]+)")


def parse(text: str) -> Augmentation:
    """Read names with their options, separated by commas; they are applied in this order.

    ``none`` stands for no stage and ``standard`` for ``crop,flip``. ``parse(str(a)) == a``.

    Raises:
        DataError: a syntax error, an unknown name or option, or a value out of range.
    """
    stages: list[Stage] = []
    position = 0
    while True:
        match = _ITEM.match(text, position)
        if not match:
            shown = text[position : position + 12] or "the end"
            raise DataError(
                f"a name is expected at column {position + 1}, before {shown!r}",
                where=WHERE,
                fix="write it as crop,flip,randaugment{n=2 m=9},cutout",
            )
        stages += _stages(match.group(1), match.group(2))
        position = match.end()
        if text[position - 1] != ",":
            return Augmentation(tuple(stages))


def _stages(name: str, options: str | None) -> list[Stage]:
    if name in (NONE, STANDARD):
        if options is not None:
            raise DataError("takes no options", where=name, fix="leave the braces out")
        return [] if name == NONE else [Crop(), Flip()]
    if name not in STAGES:
        fix = meant(name, NAMES, f"choose of {', '.join(NAMES)}")
        raise DataError(f"there is no augmentation {name}", where=WHERE, fix=fix)
    return [_built(name, _values(name, options or ""))]


def _values(name: str, text: str) -> dict[str, Any]:
    values = {}
    position = 0
    while text[position:].strip():
        match = _OPTION.match(text, position)
        if not match:
            raise DataError(f"cannot read {text[position:].strip()!r}", where=name, fix="write name=value")
        option, value = match.groups()
        try:
            values[option] = json.loads(value)
        except json.JSONDecodeError:
            values[option] = value  # refused by its range, with the option's name
        position = match.end()
    return values


def _built(name: str, values: Mapping[str, Any]) -> Stage:
    default = STAGES[name]()
    known = [field.name for field in fields(default) if field.name != "name"]  # type: ignore[arg-type]
    for option in values:
        if option not in known:
            near = difflib.get_close_matches(option, known, 1, 0.5)
            fix = f"did you mean {near[0]}?" if near else f"it takes {', '.join(known) or 'none'}"
            raise DataError(f"unknown option {option}", where=name, fix=fix)
    return STAGES[name](**values)
