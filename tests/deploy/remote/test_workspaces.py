"""Folders of work: gone at the end of the block, and where there is no such end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from onnxcomp.deploy.machine import DeviceError
from onnxcomp.deploy.remote import RemoteMachine, connect, workspaces
from tests.deploy.remote.sshd import HOST, Sshd, needs_sshd

pytestmark = needs_sshd

HANGS = ["sh", "-c", "trap '' HUP; echo $$; sleep 600"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The keeper looks often, and waits half a second."""
    monkeypatch.setattr(workspaces, "STEP", 0.1)
    monkeypatch.setattr(workspaces, "ALONE", 0.5)


def left(server: Sshd) -> list[Path]:
    work = server.home / ".cache/onnxcomp/work"
    return list(work.iterdir()) if work.exists() else []


def keepers(server: Sshd) -> Iterator[int]:
    """Keepers and jobs of this server's that run."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if f"{server.home}/.cache/onnxcomp/work/".encode() in path.read_bytes():
                yield int(path.parent.name)
        except OSError:
            continue


def soon(holds: Callable[[], bool], seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while not holds() and time.monotonic() < until:
        time.sleep(0.05)
    return holds()


def test_nothing_runs_there_afterwards(machine: RemoteMachine, server: Sshd) -> None:
    with machine.workspace() as folder:
        assert folder == str(left(server)[0])
        assert len(list(keepers(server))) >= 1
    assert left(server) == []
    assert soon(lambda: not list(keepers(server)))


def test_others_cannot_read_it(machine: RemoteMachine) -> None:
    with machine.workspace() as folder:
        assert Path(folder).stat().st_mode & 0o777 == 0o700


def test_one_inside_another(machine: RemoteMachine, server: Sshd) -> None:
    with machine.workspace() as outer:
        with machine.workspace() as inner:
            assert sorted(map(str, left(server))) == sorted([outer, inner])
            server.drop()
            machine.run(["true"])
            owners = {Path(folder, ".owner").read_text() for folder in (outer, inner)}
            assert len(owners) == 1
            assert Path("/proc", owners.pop().strip()).exists()
        assert list(map(str, left(server))) == [outer]
    assert left(server) == []


def test_one_whose_connection_lives_stays(
    machine: RemoteMachine, server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle or busy, for longer than the keeper waits, which is ample for a new connection."""
    monkeypatch.setattr(workspaces, "STEP", 0.1)
    monkeypatch.setattr(workspaces, "ALONE", 4)
    with machine.workspace() as folder:
        server.drop()
        machine.run(["true"])
        time.sleep(5)
        assert Path(folder).exists()
        assert machine.job(["sh", "-c", "sleep 5; pwd"], folder, print) == 0
        assert Path(folder).exists()


@pytest.mark.usefixtures("quick")
def test_a_connection_lost_for_good(machine: RemoteMachine, server: Sshd) -> None:
    """What runs there is ended and the folder removed, though nobody can reach the device."""
    pids: list[int] = []

    def line(text: str) -> None:
        pids.append(int(text))
        server.drop()
        server.stop()

    start = time.monotonic()
    with (
        pytest.raises(DeviceError, match=r"^device: (nothing listens to ssh there|the connection dropped)"),
        machine.workspace() as folder,
    ):
        machine.job(HANGS, folder, line)
    assert time.monotonic() - start < 60
    assert soon(lambda: not Path("/proc", str(pids[0])).exists())
    assert soon(lambda: left(server) == [])
    assert soon(lambda: not list(keepers(server)))


KILLED = """
import sys
from onnxcomp.deploy.remote import connect, workspaces
workspaces.STEP, workspaces.ALONE = 0.1, 0.5
with connect(sys.argv[1]) as machine, machine.workspace() as folder:
    print(machine.connection.folder, flush=True)
    machine.job(["sh", "-c", "echo $$; sleep 600"], folder, lambda line: print(line, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_we_are_killed(number: signal.Signals, server: Sshd) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, HOST], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        sockets = process.stdout.readline().strip()
        job = int(process.stdout.readline())
        process.send_signal(number)
    assert process.returncode != 0
    if number == signal.SIGKILL:
        assert Path("/proc", str(job)).exists()
        shutil.rmtree(sockets)
        server.drop()  # what ssh does itself when its own time without commands is over
    assert soon(lambda: not Path("/proc", str(job)).exists())
    assert soon(lambda: left(server) == [])


def test_what_an_interrupt_leaves_running_is_ended_with_the_folder(
    machine: RemoteMachine, server: Sshd
) -> None:
    """A job that nobody stopped, as where a second Ctrl-C ended that."""
    with machine.workspace() as folder:
        there = Path(folder, "job-x")
        there.mkdir()
        script = f"setsid sh -c 'echo $$ > {there}/pid; sleep 600' >/dev/null 2>&1 </dev/null &"
        machine.run(["sh", "-c", script])
        assert soon(lambda: (there / "pid").exists() and bool((there / "pid").read_text()))
        job = int((there / "pid").read_text())
    assert soon(lambda: not Path("/proc", str(job)).exists())
    assert left(server) == []


def test_no_number_of_before_a_restart_is_signalled(machine: RemoteMachine) -> None:
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as bystander:
        try:
            with machine.workspace() as folder:
                Path(folder, ".boot").write_text("another")
                Path(folder, "job-x").mkdir()
                Path(folder, "job-x/pid").write_text(f"{bystander.pid}\n")
            assert bystander.poll() is None
            with machine.workspace() as folder:
                Path(folder, "job-x").mkdir()
                Path(folder, "job-x/pid").write_text(f"{bystander.pid}\n")
                Path(folder, "job-x/code").write_text("0\n")  # it is over
            assert bystander.poll() is None
        finally:
            bystander.kill()


def test_what_is_left_from_before(machine: RemoteMachine, server: Sshd) -> None:
    """Folders without a keeper after a day, halves of copies too, copies that nobody used after a month."""
    cache = Path(machine.cache("models")).parent
    root = Path(machine.cache("work"))
    ages = {"models/old": 31 * 24, "models/new": 29 * 24, "engines/old": 31 * 24, "models/a.1.part": 25}
    for name, hours in {**ages, "models/b.1.part": 1}.items():
        (cache / name).parent.mkdir(exist_ok=True)
        (cache / name).touch()
        os.utime(cache / name, (time.time() - hours * 3600,) * 2)
    with connect(HOST) as other, other.workspace() as kept:
        for folder, hours in ((kept, 25), (root / "w-old", 25), (root / "w-new", 23)):
            Path(folder).mkdir(exist_ok=True)
            os.utime(folder, (time.time() - hours * 3600,) * 2)
        with machine.workspace() as folder:
            names = {path.name for path in left(server)}
            assert names == {"w-new", Path(kept).name, Path(folder).name}
    found = sorted(str(path.relative_to(cache)) for path in cache.glob("*/*") if path.is_file())
    assert found == ["engines/old", "models/b.1.part", "models/new"]


def test_a_used_copy_is_young_again(machine: RemoteMachine, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("content")
    there = Path(machine.put(tmp_path / "a", "a"))
    os.utime(there, (0, 0))
    machine.put(tmp_path / "a", "a")
    assert time.time() - there.stat().st_mtime < 60


def test_where_it_cannot_be_made(machine: RemoteMachine, server: Sshd) -> None:
    Path(machine.cache("work")).rmdir()
    (server.home / ".cache/onnxcomp/work").write_text("a file")
    with (
        pytest.raises(
            DeviceError, match=r"^device: a temporary folder there cannot be made \(.*\); see that"
        ),
        machine.workspace(),
    ):
        raise AssertionError
