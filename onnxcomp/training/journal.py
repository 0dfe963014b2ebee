"""``metrics.jsonl``: one JSON object a line, each with a ``step``."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onnxcomp import files
from onnxcomp.errors import TrainingError


class Journal:
    """Appends lines and reads them back; a damaged line costs no other.

    Args:
        path: the file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line; ``record`` has an integer ``step``.

        Raises:
            TrainingError: it cannot be written; what was there is kept.
        """
        rest = (json.dumps(record) + "\n").encode()
        try:
            with self.path.open("ab", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                try:
                    while rest:  # a disk that gets full takes a part of it first
                        rest = rest[file.write(rest) :]
                except OSError:
                    file.truncate(size)
                    raise
        except OSError as error:
            raise TrainingError(
                f"cannot be written ({error.strerror})",
                where=str(self.path),
                fix="make room and continue with --resume",
            ) from error

    def records(self) -> list[dict[str, Any]]:
        """The lines so far, without those that are damaged or that a kill cut short.

        Raises:
            TrainingError: they cannot be read.
        """
        return self._read()[0]

    def cut(self, step: int, note: Callable[[str], None]) -> None:
        """Drop what is beyond ``step``, and damaged lines, of which ``note`` is told.

        Raises:
            OnnxcompError: it cannot be written.
        """
        records, damaged = self._read()
        if damaged:
            note(f"{self.path}: {damaged} damaged line{'s'[: damaged > 1]} left out")
        kept = "".join(f"{json.dumps(record)}\n" for record in records if record["step"] <= step)
        with files.atomic_path(self.path) as temporary:
            temporary.write_text(kept, encoding="utf-8")

    def close(self) -> None:
        """No more lines will come: nothing to do, each is in the file already."""

    def sync(self) -> None:
        """Wait until all lines are on the disk."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())

    def _read(self) -> tuple[list[dict[str, Any]], int]:
        """The good lines, and how many others there are besides a last one cut short."""
        try:
            content = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise TrainingError(
                f"cannot be read ({error.strerror})", where=str(self.path), fix="let the file be read"
            ) from error
        found = [_record(line) for line in content.split(b"\n")[:-1]]
        good = [record for record in found if record is not None]
        return good, len(found) - len(good)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
        return record if isinstance(record["step"], int) else None
    except (ValueError, KeyError, TypeError):
        return None
