"""A run's folder: what was asked, what was measured, and where to continue."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from onnxcomp import files
from onnxcomp.errors import CheckpointError, TrainingError
from onnxcomp.training import lock
from onnxcomp.training.checkpoint import Checkpoint
from onnxcomp.training.checkpoints import Checkpoints
from onnxcomp.training.identity import Identity
from onnxcomp.training.journal import Journal
from onnxcomp.training.metrics.curves import curves
from onnxcomp.training.metrics.scalars import Sink
from onnxcomp.training.metrics.tensorboard import TensorBoard

CHECKPOINTS = "checkpoints"
OWN = (CHECKPOINTS, "config.json", "curves.png", lock.NAME, "metrics.jsonl", "run.json", "tensorboard")
"""What a run's folder holds."""
Note = Callable[[str], None]


class RunDir:
    """``config.json``, ``metrics.jsonl`` (one JSON object a line) and ``checkpoints/``.

    Use it as a context: a folder that is resumed belongs to this process from then on, a new one from
    :meth:`begin` on, before which nothing is created.

    Args:
        path: the folder; made by :meth:`begin` with its parents.
        resume: continue what is there.
        keep: how many checkpoints stay.
        tensorboard: write event files into ``tensorboard/`` too.

    Attributes:
        checkpoints: the last ones.
        journal: the metrics.
        kept: step that the run continues from if it ends now; 0 for its beginning.

    Raises:
        TrainingError: the folder holds something and ``resume`` is False, holds something that is
            not a run, or is no folder.
    """

    def __init__(self, path: Path, *, resume: bool, keep: int = 1, tensorboard: bool = False) -> None:
        self.path = path
        self.kept = 0
        self.checkpoints = Checkpoints(path / CHECKPOINTS, keep)
        self.journal = Journal(path / "metrics.jsonl")
        self._resume = resume
        self._tensorboard = tensorboard
        self._sinks: list[Sink] = [self.journal]
        self._open = ExitStack()
        self._held = False
        self._check()

    def __enter__(self) -> RunDir:
        """Raises:
        TrainingError: another process works in the folder.
        """
        if self.config.exists():
            self._hold()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._held = False
        self._open.close()

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    def saved(self, identity: Identity, note: Note) -> Checkpoint | None:
        """The newest good checkpoint, or None where the run starts from its beginning.

        Args:
            note: told in a line of each file that is damaged and can be done without.

        Raises:
            CheckpointError: what is there belongs to another run, or no checkpoint of it is good.
        """
        damaged = None
        if self.config.exists():
            try:
                identity.check(self._identity(), str(self.config))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                damaged = error
        found = self.checkpoints.newest(identity.check, note)
        if damaged is not None:
            if found is None:
                raise _damaged(self.config) from damaged
            note(f"{self.config}: is damaged; the checkpoint says what the run is")
        if found is None:
            return None
        self.kept = found[0].step
        return found[0]

    def begin(self, identity: Identity, step: int, note: Note) -> None:
        """Make the folder ready to continue after ``step`` steps (0 for a new run).

        Raises:
            OnnxcompError: it cannot be written, or another process was faster.
        """
        files.make_folder(self.path)
        if not self._held:
            self._hold()
            self._check()
        self.checkpoints.clean(step)
        with files.atomic_path(self.config) as temporary:
            content = json.dumps({"model": identity.model, **identity.settings}, indent=2)
            temporary.write_text(content + "\n", encoding="utf-8")
        self.journal.cut(step, note)
        if self._tensorboard:
            events = TensorBoard(self.path / "tensorboard", purge_from=step + 1)
            self._open.callback(events.close)
            self._sinks.append(events)

    def log(self, record: Mapping[str, Any]) -> None:
        """Keep one line of metrics; it has a ``step``.

        Raises:
            TrainingError: it cannot be written.
        """
        for sink in self._sinks:
            sink.log(record)

    def measured(self, step: int) -> bool:
        """Whether the metrics say how the network did on the test images after ``step`` steps."""
        return any(r["step"] == step and r.get("event") == "epoch" for r in self.journal.records())

    def draw(self) -> None:
        """Draw the metrics as ``curves.png``, where matplotlib is installed.

        Raises:
            OnnxcompError: it cannot be written.
        """
        if importlib.util.find_spec("matplotlib") is not None:
            with self:
                curves(self.journal.records(), self.path / "curves.png")

    def save(self, state: Checkpoint, identity: Identity) -> None:
        """Write a checkpoint, which vouches for the metrics up to its step.

        Raises:
            OnnxcompError: it cannot be written; those that were there are kept.
        """
        self.journal.sync()
        self.checkpoints.save(state, identity)
        self.kept = state.step

    def _check(self) -> None:
        where = str(self.path)
        if self.path.exists() and not self.path.is_dir():
            raise TrainingError("is not a folder", where=where, fix="choose another --run-dir")
        names = {entry.name for entry in self.path.iterdir()} if self.path.is_dir() else set()
        content = {name for name in names if not (files.is_part(name) or name == lock.NAME)}
        if content and not self._resume:
            raise TrainingError("is not empty", where=where, fix="add --resume or choose another --run-dir")
        if content and self.config.name not in content:
            raise TrainingError(
                "holds no training run to resume", where=where, fix="choose another --run-dir"
            )

    def _hold(self) -> None:
        self._open.enter_context(lock.hold(self.path))
        self._held = True
        files.remove_parts(self.path)  # no other process can be writing them now

    def _identity(self) -> Identity:
        content = json.loads(self.config.read_text(encoding="utf-8"))
        return Identity(content.pop("model"), content)


def check_output(path: Path, output: Path) -> None:
    """Refuse to write a result over the run's folder ``path``, or over what the run keeps there.

    Raises:
        TrainingError: so it is.
    """
    folder, wanted = path.resolve(), output.resolve()
    if wanted == folder or (wanted.parent == folder and wanted.name in OWN):
        raise TrainingError("is the run's own", where=str(output), fix="name another output")


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError("is damaged", where=str(path), fix="choose another --run-dir")
