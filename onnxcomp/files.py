"""Writing files so that an interrupted or refused write leaves nothing half-written."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onnxcomp.errors import OnnxcompError

PART = ".part"
BLOCK = 2**20
LONGEST = 220
"""Bytes of a name: most file systems take 255, and temporary names are longer by 15, one in another by 30."""
DISK_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that replaces ``path`` when the block succeeds.

    Raises:
        OnnxcompError: the folder or the file cannot be written, or the disk is full.
    """
    check_writable(path)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PART, dir=path.parent)
        temporary = Path(name)
        os.close(handle)
        yield temporary
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _sync(path.parent)  # so that the new name, too, outlives a power cut
    except OSError as error:
        if error.errno not in DISK_FAULTS:
            raise
        raise OnnxcompError(
            f"cannot be written ({error.strerror})", where=str(path), fix="make room or choose another disk"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def is_part(name: str, of: str | None = None) -> bool:
    """Whether a file is called as :func:`atomic_path` calls its temporary one (for the file ``of``)."""
    target = ".+" if of is None else re.escape(of)
    return re.fullmatch(rf"\.{target}\.[a-z0-9_]{{8}}\{PART}", name) is not None


def remove_parts(folder: Path, of: str | None = None) -> None:
    """Remove what a kill in the middle of :func:`atomic_path` left in ``folder``.

    Only where no other process can be writing now.

    Args:
        of: the file that was to be written; None for any.
    """
    for left in folder.iterdir():
        if is_part(left.name, of):
            left.unlink(missing_ok=True)


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call ``write`` with a temporary path, then move it to ``path``."""
    with atomic_path(path) as temporary:
        write(temporary)


def check_writable(path: Path, *, keep: Path | None = None) -> None:
    """Refuse an output that cannot be written, before any work is done.

    Raises:
        OnnxcompError: ``path`` is a folder or a device, or it or its parent is missing or read-only, or it is
            the file ``keep``.
    """
    parent = path.parent
    if len(os.fsencode(path.name)) > LONGEST and not is_part(path.name):
        raise OnnxcompError(f"has a name of more than {LONGEST} bytes", where=str(path), fix="shorten it")
    if keep is not None and path.exists() and keep.exists() and path.samefile(keep):
        raise OnnxcompError("is the input too", where=str(path), fix="name another output")
    if path.is_dir():
        raise OnnxcompError("is a folder", where=str(path), fix="name a file")
    if path.exists() and not path.is_file():
        raise OnnxcompError("is a device, not a file", where=str(path), fix="name a file")
    if not parent.is_dir():
        raise OnnxcompError("there is no such folder", where=str(parent), fix="create it or choose another")
    # The folder too where the file exists: it is replaced, not written into. os.access says yes to
    # root on a read-only bit, so ask the bit as well: root's wish to keep a file is a wish too.
    places = [parent, path] if path.exists() else [parent]
    if not all(os.access(place, os.W_OK) and place.stat().st_mode & 0o222 for place in places):
        raise OnnxcompError(
            "cannot be written", where=str(path), fix="choose another output or change its mode"
        )


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(BLOCK), b""):
            digest.update(block)
    return digest.hexdigest()


def make_folder(path: Path) -> None:
    """Create ``path`` with its parents, if it is not there.

    Raises:
        OnnxcompError: it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OnnxcompError(
            f"cannot be created ({error.strerror})", where=str(path), fix="choose another folder"
        ) from error


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # the file system cannot sync a folder: nothing to wait for
            raise
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
