"""A file of rows is whole or not there, whoever is killed and whoever else writes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxcomp import files
from onnxcomp.errors import OnnxcompError
from onnxcomp.training.row_file import Bytes, DamagedError, RowFile

ROWS = np.random.default_rng(0).integers(0, 256, (10, 7), dtype=np.uint8)
KILLED = """
import sys, time
from pathlib import Path
import numpy as np
from onnxcomp.training.row_file import CHUNK, RowFile

def parts():
    yield np.zeros((CHUNK // 7, 7), np.uint8)
    print("written", flush=True)
    time.sleep(60)

RowFile(Path(sys.argv[1]), "key", 10, 7).write(parts())
"""


def parts() -> Iterator[Bytes]:
    yield ROWS[:4]
    yield ROWS[4:]


@pytest.fixture
def file(tmp_path: Path) -> RowFile:
    return RowFile(tmp_path / "deep" / "a.rows", "key", 10, 7)


@pytest.fixture
def killed(file: RowFile) -> Iterator[subprocess.Popen[str]]:
    """A process that is in the middle of writing ``file``."""
    command = [sys.executable, "-c", KILLED, str(file.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        yield process
        process.kill()


def names(file: RowFile) -> list[str]:
    return sorted(path.name for path in file.path.parent.iterdir())


def test_what_was_written_is_read(file: RowFile) -> None:
    assert file.read() is None
    file.write(parts())
    rows = file.read()
    assert rows is not None
    np.testing.assert_array_equal(rows, ROWS)
    assert names(file) == ["a.rows"]


@pytest.mark.parametrize("place", [0, 35, 69, 70, -1])
def test_any_other_bit_is_noticed(file: RowFile, place: int) -> None:
    file.write(parts())
    content = bytearray(file.path.read_bytes())
    content[place] ^= 1
    file.path.write_bytes(content)
    with pytest.raises(DamagedError, match="checksum"):
        file.read()


@pytest.mark.parametrize("length", [0, 1, 70, 133, 135])
def test_any_other_length_is_noticed(file: RowFile, length: int) -> None:
    file.write(parts())
    file.path.write_bytes((file.path.read_bytes() + b"x")[:length])
    with pytest.raises(DamagedError, match="size"):
        file.read()


def test_a_file_of_another_key_is_none(file: RowFile) -> None:
    file.write(parts())
    with pytest.raises(DamagedError, match="checksum"):
        replace(file, key="other").read()


def test_where_the_rows_fail_nothing_is_left(file: RowFile) -> None:
    def broken() -> Iterator[Bytes]:
        yield ROWS[:4]
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011  # the one above
        file.write(broken())
    assert names(file) == []


def test_what_a_killed_process_left_is_removed(file: RowFile, killed: subprocess.Popen[str]) -> None:
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (left,) = names(file)
    assert files.is_part(left, "a.rows")
    assert file.read() is None
    file.write(parts())
    assert names(file) == ["a.rows"]


def test_what_another_process_is_writing_stays(file: RowFile, killed: subprocess.Popen[str]) -> None:
    (left,) = names(file)
    file.write(parts())
    assert killed.poll() is None
    assert names(file) == sorted([left, "a.rows"])


def test_parts_of_other_files_stay(file: RowFile) -> None:
    file.path.parent.mkdir()
    other = file.path.parent / ".b.rows.abcdefgh.part"
    other.write_bytes(b"rows")
    file.write(parts())
    assert names(file) == [other.name, "a.rows"]


def test_a_folder_that_cannot_be_written(file: RowFile) -> None:
    file.path.parent.mkdir(mode=0o555)
    with pytest.raises(OnnxcompError, match="cannot be written"):
        file.write(parts())
    assert names(file) == []
