"""Files to and from a device. What arrived is compared by SHA-256, and only then gets its name."""

from __future__ import annotations

import hashlib
import os
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onnxcomp import files
from onnxcomp.deploy.machine import DeviceError, Done
from onnxcomp.deploy.remote.failures import DroppedError, refused
from onnxcomp.deploy.remote.ssh import Connection

MISSING = 44
BLOCK = 2**20
TELL = 3.0
"""Seconds between two notes of how far a copy is."""


@dataclass(frozen=True)
class Copies:
    """Copies over a connection; one that drops in the middle is begun again.

    Attributes:
        note: told how far one is that takes long.
    """

    connection: Connection
    note: Callable[[str], None] = lambda line: None

    def has(self, there: str, digest: str) -> bool:
        """Whether the file ``there`` has this SHA-256; its time of change becomes now if so."""
        path = shlex.quote(there)
        script = f"[ -f {path} ] && sha256sum < {path} && touch {path}"
        done = self.connection.persistently(lambda: self.connection.run(script))
        return done.code == 0 and done.out.split()[:1] == [digest]

    def send(self, local: Path, there: str) -> None:
        """Copy ``local`` to the path ``there``, whose folder exists.

        Raises:
            DeviceError: no room there, or it cannot be written.
        """
        path, digest = shlex.quote(there), files.sha256(local)
        script = (
            f'umask 077; p={path}.$$.part; cat > "$p" && [ "$(sha256sum < "$p")" = \'{digest}  -\' ]'
            f' && mv -f "$p" {path} || {{ c=$?; rm -f "$p"; exit $c; }}'
        )

        def copy() -> Done:
            with local.open("rb") as file:
                size = os.fstat(file.fileno()).st_size

                def position() -> int:  # of the open file, through which ssh reads too
                    return os.lseek(file.fileno(), 0, os.SEEK_CUR)

                return self.connection.run(script, stdin=file, tick=self._teller(position, size))

        done = self.connection.persistently(copy)
        if done.code != 0:
            raise self._refused(done, there)

    def get(self, there: str, local: Path) -> None:
        """Copy the file ``there`` to ``local``, which is replaced in one step.

        Raises:
            DeviceError: there is no such file.
        """
        with files.atomic_path(local) as temporary:
            self.connection.persistently(lambda: self._fetch(there, temporary))

    def _fetch(self, there: str, local: Path) -> None:
        """The content, and behind it the 64 digits of its SHA-256: so a cut is seen."""
        path = shlex.quote(there)
        script = (
            f"[ -r {path} ] || exit {MISSING}; cat {path} && sha256sum < {path} | cut -c1-64 | tr -d '\\n'"
        )
        with local.open("wb") as file:

            def position() -> int:
                return os.fstat(file.fileno()).st_size

            done = self.connection.run(script, stdout=file, tick=self._teller(position))
        if done.code == MISSING:
            raise DeviceError(f"there is no {there}", where=self.connection.host, fix="run it again")
        if done.code != 0:
            raise self._refused(done, there)
        if not _cut_digest(local):
            raise DroppedError(f"{there} did not arrive whole", where=self.connection.host, fix="try again")

    def _teller(self, position: Callable[[], int], size: int | None = None) -> Callable[[], None]:
        """Called again and again, it notes now and then how many bytes of ``size`` are copied."""
        last = time.monotonic()

        def tell() -> None:
            nonlocal last
            if time.monotonic() - last >= TELL:
                last = time.monotonic()
                of = "" if size is None else f" of {_mib(size)}"
                self.note(f"{self.connection.host}: {_mib(position())}{of} MiB copied")

        return tell

    def _refused(self, done: Done, there: str) -> DeviceError:
        fix = "see that its disk can be written"
        return refused(done, self.connection.host, f"{there} cannot be copied", fix)


def _cut_digest(path: Path) -> bool:
    """Take the digest off the end of the file; whether it is that of the rest."""
    size = path.stat().st_size - 64
    if size < 0:
        return False
    with path.open("r+b") as file:
        digest, left = hashlib.sha256(), size
        while left:
            block = file.read(min(BLOCK, left))
            digest.update(block)
            left -= len(block)
        expected = file.read()
        file.truncate(size)
    return digest.hexdigest().encode() == expected


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f}"
