"""A run's folder: what was asked, what was measured, and where to continue."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxcomp import files
from onnxcomp.errors import CheckpointError, TrainingError
from onnxcomp.training import checkpoint
from onnxcomp.training.checkpoint import Checkpoint, Identity

# What a kill in the middle of an atomic write leaves behind.
PART = re.compile(r"\.(config\.json|metrics\.jsonl|checkpoint\.safetensors)\..*\.part")


class RunDir:
    """``config.json``, ``metrics.jsonl`` (one JSON object a line) and ``checkpoint.safetensors``.

    Nothing is created before :meth:`begin`.

    Args:
        path: the folder; made by :meth:`begin` with its parents.
        resume: continue what is there.

    Raises:
        TrainingError: the folder holds something and ``resume`` is False, holds something that is
            not a run, or is no folder.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self.path = path
        where = str(path)
        if path.exists() and not path.is_dir():
            raise TrainingError("is not a folder", where=where, fix="choose another --run-dir")
        names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
        content = {name for name in names if not PART.fullmatch(name)}
        if content and not resume:
            raise TrainingError("is not empty", where=where, fix="add --resume or choose another --run-dir")
        if content and self.config.name not in content:
            raise TrainingError(
                "holds no training run to resume", where=where, fix="choose another --run-dir"
            )

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    def saved(self, identity: Identity) -> Checkpoint | None:
        """The checkpoint to continue from, or None where the run starts from its beginning.

        Raises:
            CheckpointError: what is there is damaged or belongs to another run.
        """
        if self.config.exists():
            identity.check(self._identity(), str(self.config))
        return checkpoint.load(self.checkpoint, identity) if self.checkpoint.exists() else None

    def begin(self, identity: Identity, step: int) -> None:
        """Make the folder ready to continue after ``step`` steps (0 for a new run).

        Raises:
            OnnxcompError: it cannot be written.
        """
        files.make_folder(self.path)
        for left in self.path.iterdir():
            if PART.fullmatch(left.name):
                left.unlink()
        with files.atomic_path(self.config) as temporary:
            content = json.dumps({"model": identity.model, **identity.settings}, indent=2)
            temporary.write_text(content + "\n", encoding="utf-8")
        kept = [json.dumps(record) for record in self.records() if record["step"] <= step]
        with files.atomic_path(self.metrics) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def log(self, record: Mapping[str, Any]) -> None:
        """Append one line of metrics; it has a ``step``.

        Raises:
            TrainingError: it cannot be written.
        """
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            raise TrainingError(
                f"cannot be written ({error.strerror})",
                where=str(self.metrics),
                fix="make room and continue with --resume",
            ) from error

    def records(self) -> list[dict[str, Any]]:
        """The metrics so far; a last line that a kill cut short is left out.

        Raises:
            CheckpointError: another line is not what :meth:`log` writes.
        """
        try:
            text = self.metrics.read_text(encoding="utf-8") if self.metrics.exists() else ""
            found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
            if not all(isinstance(record["step"], int) for record in found):
                raise ValueError("step")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(self.metrics) from error
        return found

    def _identity(self) -> Identity:
        try:
            content = json.loads(self.config.read_text(encoding="utf-8"))
            return Identity(content.pop("model"), content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(self.config) from error


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError("is damaged", where=str(path), fix="choose another --run-dir")
