"""Where trtexec runs: this machine, or a device that is reached over SSH (:mod:`onnxcomp.deploy.remote`)."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from onnxcomp import files
from onnxcomp.errors import OnnxcompError

OnLine = Callable[[str], None]
GRACE = 5.0
"""Seconds that a command has to end after SIGTERM."""
BLOCK = 2**16


class DeviceError(OnnxcompError):
    """A machine that does not answer, or something on it that does not work."""


@dataclass(frozen=True)
class Done:
    """A command that ended.

    Attributes:
        code: its exit code; 127 where there is no such command.
        out, err: what it wrote, as text.
    """

    code: int
    out: str
    err: str


class Machine(Protocol):
    """What building and measuring need of a machine.

    Paths there are text, since it need not be this machine.
    """

    @property
    def name(self) -> str:
        """What messages call it, for example ``user@jetson``."""

    def run(self, words: Sequence[str], *, timeout: float | None = None) -> Done:
        """Run a short command there.

        Raises:
            DeviceError: no answer, or none within ``timeout`` seconds.
        """

    def put(self, local: Path, name: str) -> str:
        """The path there of a copy of ``local``, called ``name``; not copied again if it is there already."""

    def send(self, local: Path, there: str) -> None:
        """Copy ``local`` to the path ``there``."""

    def get(self, there: str, local: Path) -> None:
        """Copy a file from there; ``local`` is replaced in one step."""

    def cache(self, kind: str) -> str:
        """A folder there that stays, for files of one kind."""

    def workspace(self) -> AbstractContextManager[str]:
        """A folder there that is gone at the end, whatever happens."""

    def job(self, words: Sequence[str], folder: str, on_line: OnLine, *, timeout: float | None = None) -> int:
        """Run a long command there in ``folder``; each line that it writes is given to ``on_line``.

        It is ended there when this raises, be it by Ctrl-C. Returns its exit code; minus the number of a
        signal that ended it.

        Raises:
            DeviceError: no answer any more, or it took longer than ``timeout`` seconds.
        """


class LocalMachine:
    """This machine, as a :class:`Machine`."""

    name = "this machine"

    def run(self, words: Sequence[str], *, timeout: float | None = None) -> Done:
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, errors="replace", timeout=timeout, check=False
            )
        except OSError as error:
            return Done(127, "", str(error))
        except subprocess.TimeoutExpired as error:
            raise self._too_long(words, timeout) from error
        return Done(done.returncode, done.stdout, done.stderr)

    def put(self, local: Path, name: str) -> str:
        """``local`` itself: it is here already."""
        return str(local.resolve())

    def send(self, local: Path, there: str) -> None:
        files.write_atomically(Path(there), lambda path: _copy(local, path))

    def get(self, there: str, local: Path) -> None:
        files.write_atomically(local, lambda path: _copy(Path(there), path))

    def cache(self, kind: str) -> str:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = root / "onnxcomp" / kind
        files.make_folder(folder)
        return str(folder)

    @contextmanager
    def workspace(self) -> Iterator[str]:
        with tempfile.TemporaryDirectory(prefix="onnxcomp-") as folder:
            yield folder

    def job(self, words: Sequence[str], folder: str, on_line: OnLine, *, timeout: float | None = None) -> int:
        try:
            process = subprocess.Popen(
                words,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise DeviceError(
                f"cannot be run ({error.strerror})", where=words[0], fix="install it, or name another"
            ) from error
        assert process.stdout is not None
        try:
            for line in _lines(process.stdout, timeout):
                on_line(line)
            return process.wait()
        except TimeoutError as error:
            raise self._too_long(words, timeout) from error
        finally:
            process.stdout.close()
            _end(process)

    def _too_long(self, words: Sequence[str], timeout: float | None) -> DeviceError:
        fix = "see whether something else keeps the machine busy"
        return DeviceError(f"{words[0]} has not ended after {timeout:.0f} s", where=self.name, fix=fix)


def _copy(source: Path, target: Path) -> None:
    try:
        shutil.copyfile(source, target)
    except FileNotFoundError as error:
        raise DeviceError("there is no such file", where=str(source), fix="build it again") from error


def _lines(stream: IO[bytes], timeout: float | None) -> Iterator[str]:
    """Lines as they come; a last one without an end counts.

    Raises:
        TimeoutError: the stream has not ended after ``timeout`` seconds.
    """
    until = None if timeout is None else time.monotonic() + timeout
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            left = None if until is None else until - time.monotonic()
            if (left is not None and left <= 0) or not selector.select(left):
                raise TimeoutError
            data = os.read(stream.fileno(), BLOCK)
            *whole, rest = (rest + data).split(b"\n")
            yield from (line.decode(errors="replace").rstrip("\r") for line in whole)
            if not data:
                break
    if rest:
        yield rest.decode(errors="replace").rstrip("\r")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End ``process`` with all that it started, if it runs."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
            return
