from __future__ import annotations

import os
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from onnxcomp.deploy.machine import DeviceError
from onnxcomp.deploy.remote import RemoteMachine, copies, ssh
from tests.deploy.remote.sshd import Sshd, needs_sshd

pytestmark = needs_sshd


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a file; $(touch x)"
    path.write_bytes(os.urandom(3_000_000))
    return path


def models(server: Sshd) -> list[Path]:
    return list((server.home / ".cache/onnxcomp/models").iterdir())


def test_a_file_goes_once(machine: RemoteMachine, server: Sshd, source: Path) -> None:
    notes: list[str] = []
    object.__setattr__(machine, "note", notes.append)
    there = machine.put(source, "model.onnx")
    assert Path(there).read_bytes() == source.read_bytes()
    before = Path(there).stat().st_ino
    assert machine.put(source, "model.onnx") == there
    assert Path(there).stat().st_ino == before
    assert notes == ["copying model.onnx, 3 MiB, to device"]
    assert models(server) == [Path(there)]


def test_a_copy_that_was_damaged_there_goes_again(machine: RemoteMachine, source: Path) -> None:
    there = Path(machine.put(source, "model.onnx"))
    there.write_bytes(b"cut")
    machine.put(source, "model.onnx")
    assert there.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("content", [b"", b"x", bytes(range(256)) * 1000])
def test_there_and_back(content: bytes, machine: RemoteMachine, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with machine.workspace() as folder:
        machine.send(tmp_path / "a", f"{folder}/b c")
        machine.get(f"{folder}/b c", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == content


def test_what_is_not_there(machine: RemoteMachine, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    with pytest.raises(DeviceError, match=r"^device: there is no /none; run it again"):
        machine.get("/none", tmp_path / "kept")
    assert (tmp_path / "kept").read_text() == "kept"


def test_where_it_cannot_be_written(machine: RemoteMachine, source: Path) -> None:
    with pytest.raises(
        DeviceError, match=r"^device: /none/file cannot be copied \(.*(No such file|nonexistent)"
    ):
        machine.send(source, "/none/file")


def test_a_full_disk(machine: RemoteMachine, server: Sshd, source: Path) -> None:
    """GNU cat's words on one; what it had written is removed."""
    cat = server.bin / "cat"
    cat.write_text("#!/bin/sh\nhead -c 1000\necho 'cat: write error: No space left on device' >&2\nexit 1\n")
    cat.chmod(0o755)
    with pytest.raises(DeviceError, match=r"^device: the disk there is full; make room there$"):
        machine.put(source, "model.onnx")
    assert models(server) == []


@pytest.mark.parametrize("way", ["send", "get"])
def test_how_far_a_long_copy_is_is_told(
    way: str, machine: RemoteMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copies, "TELL", 0.0)
    monkeypatch.setattr(ssh, "TICK", 0.01)
    notes: list[str] = []
    object.__setattr__(machine, "note", notes.append)
    large = tmp_path / "large"
    large.write_bytes(bytes(60 * 2**20))
    with machine.workspace() as folder:
        machine.send(large, f"{folder}/large")
        if way == "get":
            notes.clear()
            machine.get(f"{folder}/large", tmp_path / "back")
    shape = r"device: (\d+) of 60 MiB copied" if way == "send" else r"device: (\d+) MiB copied"
    found = [int(re.fullmatch(shape, note)[1]) for note in notes]  # type: ignore[index]
    assert found == sorted(found)
    assert 0 < found[-1] <= 60


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_full(machine: RemoteMachine, server: Sshd, source: Path) -> None:
    """A real one, of half a megabyte."""
    cache = server.home / ".cache"
    cache.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(cache)]
    if subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("no file system can be mounted here")
    try:
        with pytest.raises(DeviceError, match=r"^device: the disk there is full; make room there$"):
            machine.put(source, "model.onnx")
        assert models(server) == []
        with machine.workspace() as folder:
            words = ["sh", "-c", "head -c 2000000 /dev/zero > big"]
            with pytest.raises(DeviceError, match=r"^device: the disk there is full; make room there$"):
                machine.job(words, folder, print)
        assert list((cache / "onnxcomp/work").iterdir()) == []
        (cache / "rest").write_bytes(bytes(int(subprocess.check_output(["stat", "-fc", "%f", cache])) * 4096))
        with (
            pytest.raises(DeviceError, match=r"^device: the disk there is full; make room there$"),
            machine.workspace(),
        ):
            raise AssertionError
        assert list((cache / "onnxcomp/work").iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", str(cache)], check=True)


@pytest.mark.parametrize("way", ["send", "get"])
def test_a_connection_that_drops_in_the_middle(
    way: str, machine: RemoteMachine, server: Sshd, tmp_path: Path
) -> None:
    """Cut several times while 60 MB are on their way; no half of a file is left there or here."""
    large = tmp_path / "large"
    large.write_bytes(os.urandom(1000) * 60_000)
    with machine.workspace() as folder:
        there = f"{folder}/large"
        if way == "get":
            machine.send(large, there)

        def cut() -> None:
            for _ in range(2):
                time.sleep(0.15)
                server.drop()

        cutter = threading.Thread(target=cut)
        cutter.start()
        if way == "send":
            machine.send(large, there)
        else:
            machine.get(there, tmp_path / "back")
        cutter.join()
        machine.run(["true"])
        until = time.monotonic() + 30
        while list(Path(folder).glob("*.part")) and time.monotonic() < until:
            time.sleep(0.05)
        assert [path.name for path in Path(folder).iterdir() if path.name[0] != "."] == ["large"]
        assert Path(there).read_bytes() == large.read_bytes()
        assert way == "send" or (tmp_path / "back").read_bytes() == large.read_bytes()
        assert (server.folder / "sshd.log").read_text().count("Accepted publickey") >= 2
