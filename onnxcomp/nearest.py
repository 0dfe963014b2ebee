"""What someone meant who wrote a name or a path that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

MOST_NAMES = 2000  # of a folder that are compared
ALIKE = 0.6


def meant(given: str, known: Iterable[str], otherwise: str, *, alike: float = ALIKE) -> str:
    """``did you mean X?`` with the nearest of ``known``, else ``otherwise``.

    Args:
        alike: how near, from 0 (anything) to 1 (the same).
    """
    by_lower = {name.lower(): name for name in known}
    near = difflib.get_close_matches(given.lower(), by_lower, n=1, cutoff=alike)
    return f"did you mean {by_lower[near[0]]}?" if near else otherwise


def meant_path(path: Path, otherwise: str = "check the path") -> str:
    """The same for a path: the first part of it that is not there is compared with what is beside it."""
    try:
        parts = [path, *path.parents]
        missing = max(index for index, part in enumerate(parts) if not part.exists())
        wrong = parts[missing]
        names = [
            entry.name
            for entry in islice(wrong.parent.iterdir(), MOST_NAMES)
            if entry.is_dir() == (missing > 0) and not entry.name.startswith(".")
        ]
    except (OSError, ValueError):  # nothing is missing, no folder may be read, or a null byte
        return otherwise
    near = max(names, key=lambda name: _likeness(wrong.name, name), default="")
    return f"did you mean {wrong.parent / near}?" if _likeness(wrong.name, near) >= ALIKE else otherwise


def _likeness(given: str, name: str) -> float:
    """Of stem and suffix, the worse: that two files are both .onnx says nothing."""
    ends = [(Path(given.lower()).stem, Path(name.lower()).stem)]
    ends += [(Path(given.lower()).suffix, Path(name.lower()).suffix)]
    return min(difflib.SequenceMatcher(None, one, other).ratio() for one, other in ends)
