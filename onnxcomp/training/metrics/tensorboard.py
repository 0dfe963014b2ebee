"""TensorBoard event files of a run."""

from __future__ import annotations

import importlib
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from onnxcomp import extras, files
from onnxcomp.errors import TrainingError
from onnxcomp.training.metrics.scalars import scalars

_VERSION = "brain.Event:2"
"""What an event file says first, so that a session's start purges."""


class TensorBoard:
    """Writes one event file into ``path``; a resumed run adds a file to those of the first.

    Written with tensorboardX's ``RecordWriter``, and not with its ``SummaryWriter``: that one leaves the
    events to a thread, so a kill would lose some that a checkpoint vouches for, and a full disk would go
    unseen. The events are those of a ``SummaryWriter`` with ``purge_step``.

    Args:
        path: the folder to give to ``tensorboard --logdir``; made with its parents.
        purge_from: TensorBoard forgets what earlier files say from this step on: the step after the
            checkpoint of a resumed run. 0 or 1 for a new one.

    Raises:
        MissingPackageError: tensorboardX is not installed.
        OnnxcompError: the folder or the file cannot be written.
    """

    def __init__(self, path: Path, purge_from: int = 0) -> None:
        with _torch_hidden():
            writer = extras.optional("tensorboardX", "tensorboard").RecordWriter
            self._proto: Any = importlib.import_module("tensorboardX.proto.event_pb2")
            self._summary: Any = importlib.import_module("tensorboardX.proto.summary_pb2").Summary
        files.make_folder(path)
        self._path = path
        # TensorBoard reads files by name; the step orders those made in the same second.
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{purge_from:010d}"
        with self._writing():
            self._writer: Any = writer(str(path / name))
            self._write(purge_from, file_version=_VERSION)
            self._write(purge_from, session_log=self._proto.SessionLog(status=self._proto.SessionLog.START))

    def log(self, record: Mapping[str, Any]) -> None:
        """Write the numbers of a record; they are in the file when this returns.

        Raises:
            TrainingError: they cannot be written.
        """
        value = self._summary.Value
        found = scalars(record).items()
        with self._writing():
            summary = self._summary(value=[value(tag=tag, simple_value=number) for tag, number in found])
            self._write(record["step"], summary=summary)

    def close(self) -> None:
        """No more records will come."""
        with self._writing():
            self._writer.close()

    def _write(self, step: int, **content: Any) -> None:
        event = self._proto.Event(wall_time=time.time(), step=step, **content)
        self._writer.write(event.SerializeToString())
        self._writer.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            with suppress(OSError, AttributeError):  # says the same once more, or was never opened
                self._writer.close()
            raise TrainingError(
                f"cannot be written ({error.strerror})",
                where=str(self._path),
                fix="make room and continue with --resume",
            ) from error


@contextmanager
def _torch_hidden() -> Iterator[None]:
    """tensorboardX imports torch wherever it is installed: seconds and hundreds of megabytes for nothing."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]
