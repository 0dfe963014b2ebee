"""In a run of several ranks the folder is rank 0's; this is what the others have for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from onnxcomp.training.checkpoint import Checkpoint
from onnxcomp.training.identity import Identity
from onnxcomp.training.run_dir import Note


class NoRunDir:
    """Takes all that :class:`~onnxcomp.training.run_dir.RunDir` takes, and writes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kept = 0

    def __enter__(self) -> NoRunDir:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def saved(self, identity: Identity, note: Note) -> Checkpoint | None:
        return None

    def begin(self, identity: Identity, step: int, note: Note) -> None:
        self.kept = step

    def log(self, record: Mapping[str, Any]) -> None:
        pass

    def measured(self, step: int) -> bool:
        return False

    def save(self, state: Checkpoint, identity: Identity) -> None:
        self.kept = state.step
