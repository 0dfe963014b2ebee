"""A file of rows of bytes, one for each image, that is whole or not there.

Behind the rows stands the SHA-256 of its key and of all rows. It is written in one step. While a process
writes, it holds a lock on the temporary file, so what a killed one left is known for that and removed.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxcomp import files

Bytes = NDArray[np.uint8]
DIGEST = 64
CHUNK = 2**24


class DamagedError(Exception):
    """A file is there and is not whole; says in what way."""


@dataclass(frozen=True)
class RowFile:
    """Where rows are kept.

    Attributes:
        path: of the file; its folder need not exist.
        key: what the rows are of; a file of another key is no good.
        count: of rows.
        size: bytes of a row.
    """

    path: Path
    key: str
    count: int
    size: int

    def read(self) -> Bytes | None:
        """The rows, uint8 (count, size), on the disk; None where there is no file.

        Raises:
            DamagedError: it cannot be read, or is not what was written.
        """
        try:
            if self.path.stat().st_size != self._bytes + DIGEST:
                raise DamagedError("it has another size")
            with self.path.open("rb") as file:
                digest = self._digest(iter(lambda: file.read(CHUNK), b""))
                file.seek(self._bytes)
                if file.read() != digest.encode():
                    raise DamagedError("its checksum does not fit")
            return np.memmap(self.path, np.uint8, "r", shape=(self.count, self.size))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DamagedError(str(error)) from error

    def write(self, parts: Iterable[Bytes]) -> None:
        """Keep the rows of ``parts``, each uint8 (B, size); nothing is kept if ``parts`` fails.

        Raises:
            OnnxcompError: the folder or the file cannot be written, or the disk is full.
        """
        files.make_folder(self.path.parent)
        files.check_writable(self.path)
        self._remove_abandoned()
        digest = hashlib.sha256(self.key.encode())
        with ExitStack() as locked, files.atomic_path(self.path) as temporary:
            file = locked.enter_context(temporary.open("wb"))  # until it has its own name
            with suppress(OSError):  # a file system without locks: the file is as good
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for part in parts:
                data = part.tobytes()
                digest.update(data)
                file.write(data)
            file.write(digest.hexdigest().encode())
            file.flush()

    @property
    def _bytes(self) -> int:
        return self.count * self.size

    def _digest(self, parts: Iterator[bytes]) -> str:
        """SHA-256 of the key and of the rows, in hexadecimal."""
        found, left = hashlib.sha256(self.key.encode()), self._bytes
        for part in parts:
            found.update(part[:left])
            left -= min(left, len(part))
        return found.hexdigest()

    def _remove_abandoned(self) -> None:
        """Remove what killed processes left of this file: rows, but no lock.

        An empty one may belong to a process that is about to lock it.
        """
        for left in self.path.parent.iterdir():
            if files.is_part(left.name, self.path.name):
                with suppress(OSError), left.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if left.stat().st_size:
                        left.unlink()
