"""Members of a .tar.gz read by name, in bounds, and never extracted to disk."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Collection
from pathlib import Path

from onnxcomp.errors import DataError

MAX_MEMBER = 64 * 2**20
MAX_TOTAL = 512 * 2**20  # CIFAR-10 expands to 180 MiB


class _Bounded(gzip.GzipFile):
    """Refuses to give more than MAX_TOTAL bytes in all."""

    def read(self, size: int | None = -1) -> bytes:
        """As of any file; DataError beyond the bound."""
        data = super().read(size)
        if self.tell() > MAX_TOTAL:
            raise DataError(
                f"would expand to more than {MAX_TOTAL >> 20} MiB",
                where=str(self.name),
                fix="download the archive again",
            )
        return data


def read_members(path: Path, wanted: Collection[str]) -> dict[str, bytes]:
    """Bytes of the regular files whose last path component is in ``wanted``.

    Raises:
        DataError: not a .tar.gz, damaged, or larger than CIFAR-10 could be.
    """
    where = str(path)
    found = {}
    try:
        # "r|", a stream, is never sought in: every byte passes the bound.
        with _Bounded(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for member in archive:
                name = member.name.rsplit("/", 1)[-1]
                if name in wanted and member.isreg() and not member.issparse():
                    found[name] = _read(archive, member, where)
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
        raise DataError(
            "not a .tar.gz archive, or a damaged one", where=where, fix="download it again"
        ) from error
    return found


def _read(archive: tarfile.TarFile, member: tarfile.TarInfo, where: str) -> bytes:
    if member.size > MAX_MEMBER:
        raise DataError(
            f"{member.name} is larger than {MAX_MEMBER >> 20} MiB", where=where, fix="download it again"
        )
    file = archive.extractfile(member)
    return file.read() if file is not None else b""
