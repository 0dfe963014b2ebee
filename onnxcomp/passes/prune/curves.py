"""The file that ``onnxcomp sensitivity`` writes, as far as pruning reads it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FORMAT = "onnxcomp.sensitivity.1"


def read(path: str) -> dict[str, Any]:
    """Read and check the file.

    Raises:
        ValueError: it cannot be read, or is not such a file; says why.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(error.strerror or "cannot be read") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError("is no JSON") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"is not of the format {FORMAT}")
    try:
        tops = [found["dense"]["top1"]]
        for points in found["layers"].values():
            tops += [point["top1"] for point in points.values()]
            _check_shares(points)
        if not all(math.isfinite(top) for top in tops):
            raise ValueError
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            "is damaged: a share, or a top1 of the network or of a layer, is no number"
        ) from error
    return found


def _check_shares(points: Iterable[str]) -> None:
    if not all(0 <= float(share) < 1 for share in points):
        raise ValueError
