"""A write happens whole or not at all."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from onnxcomp.errors import OnnxcompError
from onnxcomp.files import atomic_path, check_writable, is_part, remove_parts, write_atomically


def write_new(path: Path) -> None:
    path.write_bytes(b"new")


def test_writes_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    write_atomically(path, write_new)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_replaces_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old and longer")
    write_atomically(path, write_new)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [b"old", None], ids=["old file", "no file"])
def test_an_exception_inside_changes_nothing(
    tmp_path: Path, error: type[BaseException], before: bytes | None
) -> None:
    path = tmp_path / "m.onnx"
    if before is not None:
        path.write_bytes(before)

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise error

    with pytest.raises(error):
        write_atomically(path, write)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == ([] if before is None else [before])


def test_the_old_file_is_there_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"new")
        assert temporary.parent == path.parent
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_mode_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "m.onnx", write_new)
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m.onnx").stat().st_mode) == 0o640


def test_a_read_only_file_is_refused_before_any_work(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    path.chmod(0o444)
    calls: list[Path] = []
    with pytest.raises(OnnxcompError, match=r"m\.onnx: cannot be written; choose another output"):
        write_atomically(path, calls.append)
    assert calls == []
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OnnxcompError, match="absent: there is no such folder; create it or choose another"):
        check_writable(tmp_path / "absent" / "m.onnx")
    assert not (tmp_path / "absent").exists()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OnnxcompError, match="is a folder; name a file"):
        check_writable(tmp_path)


def test_a_new_file_in_a_writable_folder_passes(tmp_path: Path) -> None:
    check_writable(tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")

    def write(temporary: Path) -> None:
        temporary.write_bytes(b"ne")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OnnxcompError, match="No space left on device"):
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_read_only_folder_is_refused_although_the_file_exists(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    tmp_path.chmod(0o555)
    try:
        with pytest.raises(OnnxcompError, match=r"m\.onnx: cannot be written; choose another output"):
            write_atomically(path, write_new)
    finally:
        tmp_path.chmod(0o755)
    assert path.read_bytes() == b"old"


def test_a_disk_without_room_for_a_name_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**options: object) -> tuple[int, str]:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.mkstemp", full)
    with pytest.raises(OnnxcompError, match=r"m\.onnx: cannot be written \(No space left on device\)"):
        write_atomically(tmp_path / "m.onnx", write_new)


def test_what_a_kill_leaves_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left = []
    for name in ("t.onnx", "t.onnx.json"):
        with atomic_path(tmp_path / name) as temporary:
            left.append(temporary)
    for part in left:  # as after a kill
        part.write_bytes(b"half")
    kept = [tmp_path / ".t.onnx.part", tmp_path / "notes.part", tmp_path / ".t.onnx.a1b2c3d4"]
    for path in kept:
        path.write_bytes(b"mine")
    assert [is_part(path.name) for path in (*left, *kept)] == [True, True, False, False, False]
    remove_parts(tmp_path, of="t.onnx")
    assert [path.exists() for path in left] == [False, True]
    remove_parts(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"t.onnx", "t.onnx.json", *(p.name for p in kept)}


def test_a_long_name_is_refused_before_any_work(tmp_path: Path) -> None:
    """220 bytes leave room for what temporary names add, 15 each, where one is made of another."""
    check_writable(tmp_path / ("ü" * 110))
    with pytest.raises(OnnxcompError, match="has a name of more than 220 bytes; shorten it"):
        check_writable(tmp_path / ("ü" * 110 + "x"))
    with atomic_path(tmp_path / ("x" * 220)) as outer, atomic_path(outer) as inner:
        inner.write_text("content")
    assert (tmp_path / ("x" * 220)).read_text() == "content"


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(OnnxcompError, match="/dev/null: is a device, not a file; name a file"):
        check_writable(Path("/dev/null"))
