"""What a command would do, as ``--dry-run`` tells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outlook:
    """What would happen, found by the same checks and the same code as when it happens.

    Attributes:
        lines: in plain words, in order.
        writes: files that would be written.
    """

    lines: tuple[str, ...]
    writes: tuple[Path, ...] = ()

    def __add__(self, other: Outlook) -> Outlook:
        return Outlook(self.lines + other.lines, self.writes + other.writes)

    def all_lines(self) -> list[str]:
        """The lines, what would be written, and that nothing was."""
        written = [
            f"would write {path}" + (", over what is there" if path.exists() else "") for path in self.writes
        ]
        return [*self.lines, *written, "dry run: nothing was written"]
