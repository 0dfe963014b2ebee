from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from onnxcomp.deploy.machine import DeviceError
from onnxcomp.deploy.remote import RemoteMachine
from tests.deploy.remote.sshd import Sshd, needs_sshd

pytestmark = needs_sshd

COUNT = "i=0; while [ $i -lt {} ]; do echo line $i; i=$((i+1)); sleep 0.05; done; exit 7"


def gone(pid: int, seconds: float = 30) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_lines_and_exit_code(machine: RemoteMachine) -> None:
    lines: list[str] = []
    with machine.workspace() as folder:
        words = ["sh", "-c", "pwd; echo \"$1\"; echo err >&2; printf 'a\\r\\nlast'; exit 5", "sh", "it's; $x"]
        assert machine.job(words, folder, lines.append) == 5
    assert lines == [folder, "it's; $x", "err", "a", "last"]


def test_a_command_that_is_not_there(machine: RemoteMachine) -> None:
    lines: list[str] = []
    with machine.workspace() as folder:
        assert machine.job(["/none/trtexec"], folder, lines.append) == 127
    assert "not found" in lines[-1]


def test_one_that_a_signal_ends(machine: RemoteMachine) -> None:
    with machine.workspace() as folder:
        assert machine.job(["sh", "-c", "kill -9 $$"], folder, print) == 128 + 9


def test_several_in_one_folder(machine: RemoteMachine) -> None:
    with machine.workspace() as folder:
        assert [machine.job(["sh", "-c", f"exit {code}"], folder, print) for code in (1, 2)] == [1, 2]


def test_no_line_is_lost_or_twice_where_the_connection_drops(machine: RemoteMachine, server: Sshd) -> None:
    lines: list[str] = []

    def line(text: str) -> None:
        lines.append(text)
        if text in ("line 5", "line 15", "line 25"):
            server.drop()

    with machine.workspace() as folder:
        assert machine.job(["sh", "-c", COUNT.format(40)], folder, line) == 7
    assert lines == [f"line {i}" for i in range(40)]
    assert (server.folder / "sshd.log").read_text().count("Accepted publickey") >= 4


def test_a_server_that_is_away_for_a_while(machine: RemoteMachine, server: Sshd) -> None:
    lines: list[str] = []

    def line(text: str) -> None:
        lines.append(text)
        if text == "line 3":
            server.drop()
            server.stop()
            threading.Timer(0.5, server.start).start()

    with machine.workspace() as folder:
        assert machine.job(["sh", "-c", COUNT.format(30)], folder, line) == 7
    assert lines == [f"line {i}" for i in range(30)]


@pytest.mark.parametrize("ended", ["timeout", "interrupt", "error"])
def test_what_is_given_up_runs_no_more_there(ended: str, machine: RemoteMachine) -> None:
    pids: list[int] = []

    def line(text: str) -> None:
        pids.append(int(text))
        if ended == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        if ended == "error":
            raise ValueError(text)

    expected = {"timeout": DeviceError, "interrupt": KeyboardInterrupt, "error": ValueError}[ended]
    with machine.workspace() as folder, pytest.raises(expected):
        machine.job(["sh", "-c", "sleep 60 & echo $!; wait"], folder, line, timeout=3.0)
    assert len(pids) == 1
    assert gone(pids[0])
    assert not Path(folder).exists()


def test_a_job_that_something_else_ended(machine: RemoteMachine) -> None:
    def line(text: str) -> None:
        os.killpg(int(text), signal.SIGKILL)  # its shell too, which would have said how it ended

    with (
        machine.workspace() as folder,
        pytest.raises(DeviceError, match="the job there was ended from outside"),
    ):
        machine.job(["sh", "-c", "echo $PPID; sleep 60"], folder, line)


@pytest.mark.parametrize("after", [0.0, 0.05, 0.1, 0.2, 0.4])
def test_what_is_interrupted_while_it_starts_runs_no_more_there(
    after: float, machine: RemoteMachine, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"

    def interrupted(folder: str) -> None:
        threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)).start()
        machine.job(["sh", "-c", f"echo $$ > {pid}; sleep 60"], folder, print)

    with machine.workspace() as folder, pytest.raises(KeyboardInterrupt):
        interrupted(folder)
    time.sleep(0.3)
    assert not pid.exists() or gone(int(pid.read_text()))
