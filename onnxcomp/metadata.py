"""What a file says beside its graph, as text: the ``onnxcomp.*`` entries of ``metadata_props``."""

from __future__ import annotations

import json
import math
from typing import Any

PREFIX = "onnxcomp."


def split(properties: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(onnxcomp's own entries without their prefix, the user's)."""
    own = {key.removeprefix(PREFIX): text for key, text in properties.items() if key.startswith(PREFIX)}
    return own, {key: text for key, text in properties.items() if not key.startswith(PREFIX)}


def strings(text: str) -> tuple[str, ...]:
    """A JSON list of strings.

    Raises:
        ValueError: anything else.
    """
    value = _parse(text)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{_short(text)} is not a list of strings")
    return tuple(value)


def numbers(value: object) -> tuple[float, ...]:
    """A parsed JSON list of finite numbers, at least one.

    Raises:
        ValueError: anything else.
    """
    if not isinstance(value, list) or not value or not all(_is_number(item) for item in value):
        raise ValueError(f"{_short(value)} is not a list of numbers")
    return tuple(float(item) for item in value)


def table(text: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: anything else.
    """
    value = _parse(text)
    if not isinstance(value, dict):
        raise ValueError(f"{_short(text)} is not an object")
    return value


def weights(text: str) -> dict[str, float]:
    """A JSON object of finite numbers.

    Raises:
        ValueError: anything else.
    """
    value = table(text)
    for key, number in value.items():
        if not _is_number(number):
            raise ValueError(f"{_short(number)} of {key} is not a number")
    return {key: float(number) for key, number in value.items()}


def _parse(text: str) -> object:
    try:
        value: object = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "..."
