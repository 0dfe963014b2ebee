"""Zip archives read as data: in memory, in bounds, and never extracted."""

from __future__ import annotations

import posixpath
import re
import stat
import struct
import threading
import zipfile
import zlib
from pathlib import Path

from onnxcomp.errors import DataError

MAX_MEMBER = 64 * 2**20
MAX_TOTAL = 64 * 2**30
# Deflate reaches 1032; photographs, and arrays of them, stay far below 200.
MAX_RATIO, RATIO_FREE_BYTES = 200, 2**20
# RuntimeError and NotImplementedError: flags that only the member's own header sets.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, struct.error)
PACK_AGAIN = "pack it again with an ordinary zip program"


def visible(name: str) -> bool:
    """Not a hidden file and not the folder that macOS adds to its zips."""
    return not name.startswith(".") and name != "__MACOSX"


def open_checked(path: Path, max_member: int = MAX_MEMBER) -> zipfile.ZipFile:
    """Open a zip and check every member's name and declared size, reading none.

    Args:
        max_member: most bytes that one member may expand to.

    Raises:
        DataError: not a zip, a name that leaves the archive, or sizes out of bounds.
    """
    where = str(path)
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=where, fix="check the file") from error
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, struct.error) as error:
        raise DataError("not a zip archive, or a damaged one", where=where, fix=PACK_AGAIN) from error
    try:
        for info in archive.infolist():
            _check_member(info, f"{where}/{info.filename}", max_member)
        total = sum(info.file_size for info in archive.infolist())
        if total > MAX_TOTAL:
            raise DataError(
                f"would expand to {total >> 30} GiB, more than {MAX_TOTAL >> 30}",
                where=where,
                fix="unpack it if you trust it, and name the folder",
            )
    except DataError:
        archive.close()
        raise
    return archive


def _check_member(info: zipfile.ZipInfo, where: str, max_member: int) -> None:
    name = info.filename
    if not name:
        raise DataError("a member without a name", where=where, fix=PACK_AGAIN)
    if name.startswith("/") or "\\" in name or ".." in name.split("/") or re.match("[A-Za-z]:", name):
        raise DataError("a name that may leave the archive", where=where, fix=PACK_AGAIN)
    if stat.S_ISLNK(info.external_attr >> 16):
        raise DataError("a symbolic link", where=where, fix="pack the file itself")
    if info.flag_bits & 1:
        raise DataError("encrypted", where=where, fix="pack it without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"compressed with method {info.compress_type}", where=where, fix="use deflate")
    if info.file_size > max_member:
        raise DataError(
            f"would expand to {info.file_size >> 20} MiB, more than {max_member >> 20}",
            where=where,
            fix="leave it out",
        )
    if info.file_size > RATIO_FREE_BYTES and info.file_size > MAX_RATIO * info.compress_size:
        raise DataError(
            f"would expand more than {MAX_RATIO} times, as a zip bomb does",
            where=where,
            fix="leave it out, or store it uncompressed",
        )


def read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> bytes:
    """One member's bytes, never more than it declares; the checksum is verified.

    Raises:
        DataError: it is damaged.
    """
    try:
        # An explicit length bounds the memory even where the data would expand beyond the header.
        with archive.open(info) as member:
            data = member.read(info.file_size + 1)
    except DAMAGED as error:
        raise DataError("damaged in the archive", where=where, fix=PACK_AGAIN) from error
    if len(data) != info.file_size:
        raise DataError("cut short in the archive", where=where, fix=PACK_AGAIN)
    return data


class ZipTree:
    """The folders and files of a zip; reading is thread-safe.

    Raises:
        DataError: as for :func:`open_checked`, or a file that is there twice.
    """

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._archive = open_checked(path)
        self._lock = threading.Lock()
        self._members: dict[str, zipfile.ZipInfo] = {}
        self._folders: dict[str, list[str]] = {"": []}
        self._files: dict[str, list[str]] = {"": []}
        for info in self._archive.infolist():
            self._add(info)

    def _add(self, info: zipfile.ZipInfo) -> None:
        path = posixpath.normpath(info.filename)
        if info.is_dir():
            self._add_folder(path)
            return
        if path in self._members:
            raise DataError("is there twice", where=f"{self.where}/{path}", fix=PACK_AGAIN)
        parent, name = posixpath.split(path)
        self._add_folder(parent)
        self._members[path] = info
        self._files[parent].append(name)

    def _add_folder(self, path: str) -> None:
        if path in self._folders or path == ".":
            return
        parent, name = posixpath.split(path)
        self._add_folder(parent)
        self._folders[parent].append(name)
        self._folders[path], self._files[path] = [], []

    def folders(self, path: str) -> list[str]:
        """Names of the visible folders in ``path`` (``""`` is the top), sorted."""
        return sorted(filter(visible, self._folders[path]))

    def files(self, path: str) -> list[str]:
        """Names of the visible files in ``path``, sorted."""
        return sorted(filter(visible, self._files[path]))

    def read(self, path: str) -> bytes:
        """A file's bytes.

        Raises:
            DataError: it is damaged.
        """
        with self._lock:
            return read_member(self._archive, self._members[path], f"{self.where}/{path}")
