"""JSON as trtexec writes it, which is not always JSON: names are not escaped, numbers may be ``nan``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from onnxcomp.errors import OnnxcompError

FIX = "run it again; the file may be cut off by a full disk"
MAX_BYTES = 2**30
LARGEST = 1e15
NUMBER = r"-?(?:\d+(?:\.\d*)?(?:[eE][-+]?\d{1,3})?|nan(?:\(\w{0,20}\))?|inf(?:inity)?)"
NOT_AN_ESCAPE = re.compile(r'\\(?!["\\/bfnrt]|u[0-9a-fA-F]{4})')
NOT_A_NUMBER = re.compile(r"([:,\[]\s*)-?(?:nan|inf(?:inity)?)(?=\s*[,\]}])", re.IGNORECASE)


class ExportError(OnnxcompError):
    """A file that is not what trtexec writes, or is damaged."""


def read_text(path: Path) -> str:
    """A file's text; bytes that are not UTF-8 become U+FFFD.

    Raises:
        ExportError: it cannot be read, or is larger than a gigabyte.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ExportError("is larger than 1 GB", where=str(path), fix="measure for a shorter time")
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ExportError(f"cannot be read ({error.strerror})", where=str(path), fix=FIX) from error


def read_json(text: str, where: str) -> Any:
    """JSON where control characters, wrong escapes and ``nan`` (which becomes None) are let pass.

    Raises:
        ExportError: it is not even that.
    """
    mended = NOT_A_NUMBER.sub(r"\1null", NOT_AN_ESCAPE.sub(r"\\\\", text))
    for each in (text, mended):
        try:
            return json.loads(each, strict=False, parse_constant=_none)
        except (ValueError, RecursionError) as error:
            refused = error
    raise ExportError("is not JSON, or is cut off", where=where, fix=FIX) from refused


def unescaped(text: str) -> str:
    """What stands between the quotes of a JSON string; as it is where it is none."""
    if "\\" not in text:
        return text
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def number(value: object) -> float | None:
    """A number, given as one or as text; None for anything else, and where it is none that was measured."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if abs(found) <= LARGEST else None


def _none(name: str) -> None:
    """NaN and the infinities, as Python spells them."""
