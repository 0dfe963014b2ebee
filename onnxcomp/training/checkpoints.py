"""The last good checkpoints of a run, ``step-<n>.safetensors`` in a folder of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from onnxcomp import files
from onnxcomp.errors import CheckpointError
from onnxcomp.training import checkpoint
from onnxcomp.training.checkpoint import Checkpoint, DamagedError
from onnxcomp.training.identity import Identity

_NAME = re.compile(r"step-(\d+)\.safetensors")


class Checkpoints:
    """Writes checkpoints, keeps the last ones, and finds the newest that can be read.

    At any moment a good checkpoint is on the disk, once there was one: a new one gets its name when
    it is complete, and only then the oldest goes.

    Args:
        folder: made by the first :meth:`save`; its parent exists.
        keep: how many stay, at least 1.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self._keep = keep

    def path(self, step: int) -> Path:
        """Where the checkpoint after ``step`` steps is."""
        return self.folder / f"step-{step:08d}.safetensors"

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are there, newest first."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(entry.name) for entry in self.folder.iterdir())
        return sorted((int(match[1]) for match in found if match), reverse=True)

    def save(self, state: Checkpoint, identity: Identity) -> None:
        """Write a checkpoint, then let the oldest go.

        Raises:
            OnnxcompError: it cannot be written; those that were there are kept.
        """
        files.make_folder(self.folder)
        checkpoint.save(self.path(state.step), state, identity)
        for step in [step for step in self.steps() if step < state.step][self._keep - 1 :]:
            self.path(step).unlink(missing_ok=True)

    def newest(
        self, check: Callable[[Identity, str], None], note: Callable[[str], None]
    ) -> tuple[Checkpoint, Identity] | None:
        """The newest good checkpoint and its run; None where there never was one.

        Args:
            check: refuses a run (its identity, the file) with an error.
            note: told in a line of each checkpoint that is damaged.

        Raises:
            CheckpointError: all are damaged, one is of another format, or ``check`` refuses it.
        """
        steps = self.steps()
        for step in steps:
            path = self.path(step)
            try:
                state, identity = checkpoint.load(path)
                if state.step != step:
                    raise DamagedError(f"holds step {state.step}", where=str(path))
            except DamagedError as error:
                note(f"{error.where}: {error.what}; looking for an older one")
                continue
            check(identity, str(path))
            return state, identity
        if steps:
            raise CheckpointError(
                f"none of its {len(steps)} checkpoints can be read",
                where=str(self.folder),
                fix="put a good copy in their place, or choose another --run-dir",
            )
        return None

    def clean(self, step: int) -> None:
        """Remove what is newer than ``step`` (it is damaged) and what a kill left half-written."""
        if self.folder.is_dir():
            files.remove_parts(self.folder)
        for newer in [found for found in self.steps() if found > step]:
            self.path(newer).unlink(missing_ok=True)
