"""One process at a time in a run's folder."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnxcomp.errors import TrainingError

NAME = ".lock"


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep every other process out of ``folder``, which exists, until the block ends.

    The kernel gives the lock back when a process ends, however it ends; the file stays, because
    removing it would let two processes lock two files of the same name.

    Raises:
        TrainingError: another process holds it, or ``folder`` cannot be written or locked.
    """
    path = folder / NAME
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise _cannot(folder, error) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _in_use(folder, handle) from error
        try:
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()} on {socket.gethostname()}\n".encode())
        except OSError as error:
            raise _cannot(folder, error) from error
        yield
    finally:
        os.close(handle)


def check(folder: Path) -> None:
    """Refuse a folder that another process holds; leaves nothing behind.

    Raises:
        TrainingError: so it is.
    """
    path = folder / NAME
    if not path.exists():
        return
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _in_use(folder, file.fileno()) from error


def _in_use(folder: Path, handle: int) -> TrainingError:
    return TrainingError(
        f"is in use by process {_holder(handle)}",
        where=str(folder),
        fix="wait until it ends, or choose another --run-dir",
    )


def _holder(handle: int) -> str:
    return os.pread(handle, 200, 0).decode(errors="replace").strip() or "unknown"


def _cannot(folder: Path, error: OSError) -> TrainingError:
    return TrainingError(
        f"cannot be locked ({error.strerror})",
        where=str(folder),
        fix="make room, or choose a --run-dir on another disk",
    )
