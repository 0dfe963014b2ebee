"""A device as a :class:`onnxcomp.deploy.machine.Machine`."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from onnxcomp import files
from onnxcomp.deploy.machine import DeviceError, Done, OnLine
from onnxcomp.deploy.remote.copies import Copies
from onnxcomp.deploy.remote.failures import refused
from onnxcomp.deploy.remote.jobs import Job
from onnxcomp.deploy.remote.ssh import Connection, connection
from onnxcomp.deploy.remote.workspaces import workspace

MODELS, WORK = "models", "work"
LARGE = 2**20
FOLDER = 'd="${XDG_CACHE_HOME:-$HOME/.cache}"/onnxcomp/%s; mkdir -p "$d" && cd "$d" && pwd'


@dataclass(frozen=True)
class RemoteMachine:
    """A host reached with ssh. For the methods see :class:`onnxcomp.deploy.machine.Machine`.

    Attributes:
        note: told of what takes long.
    """

    connection: Connection
    note: Callable[[str], None] = lambda line: None
    folders: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.connection.host

    def run(self, words: Sequence[str], *, timeout: float | None = None) -> Done:
        return self._script(shlex.join(words), timeout=timeout)

    def put(self, local: Path, name: str) -> str:
        digest = files.sha256(local)
        there = f"{self.cache(MODELS)}/{digest[:32]}-{name}"
        copies = Copies(self.connection, self.note)
        if not copies.has(there, digest):
            size = local.stat().st_size
            if size > LARGE:
                self.note(f"copying {name}, {size / 2**20:.0f} MiB, to {self.name}")
            copies.send(local, there)
        return there

    def send(self, local: Path, there: str) -> None:
        Copies(self.connection, self.note).send(local, there)

    def get(self, there: str, local: Path) -> None:
        Copies(self.connection, self.note).get(there, local)

    def cache(self, kind: str) -> str:
        if kind not in self.folders:
            done = self._script(FOLDER % shlex.quote(kind))
            if done.code != 0:
                raise refused(
                    done, self.name, "the cache there cannot be made", "see who owns ~/.cache there"
                )
            self.folders[kind] = done.out.strip("\n")
        return self.folders[kind]

    @contextmanager
    def workspace(self) -> Iterator[str]:
        with workspace(self.connection, self.cache(WORK)) as folder:
            yield folder

    def job(self, words: Sequence[str], folder: str, on_line: OnLine, *, timeout: float | None = None) -> int:
        until = None if timeout is None else time.monotonic() + timeout
        job = Job(self.connection, folder)
        try:
            job.start(words)
            return job.follow(on_line, until)
        except TimeoutError as error:
            job.stop()
            raise DeviceError(
                f"{words[0]} has not ended after {timeout:.0f} s",
                where=self.name,
                fix="see whether something else keeps the device busy",
            ) from error
        except BaseException:
            with suppress(DeviceError):  # gone for good: what was to be said is on its way up
                job.stop()
            raise

    def _script(self, script: str, *, timeout: float | None = None) -> Done:
        return self.connection.persistently(lambda: self.connection.run(script, timeout=timeout))


@contextmanager
def connect(host: str, note: Callable[[str], None] = lambda line: None) -> Iterator[RemoteMachine]:
    """The device ``host``.

    Raises:
        DeviceError: it cannot be reached; says why.
    """
    with connection(host, note) as found:
        found.reach()
        yield RemoteMachine(found, note)
