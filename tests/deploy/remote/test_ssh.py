"""The connection: what it opens with, how it is taken up again, and when it is given up."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from onnxcomp.deploy.machine import DeviceError
from onnxcomp.deploy.remote import ssh
from onnxcomp.deploy.remote.failures import DroppedError
from onnxcomp.deploy.remote.ssh import Connection, connection
from tests.deploy.remote.sshd import HOST, Sshd, needs_sshd

pytestmark = needs_sshd


@pytest.fixture
def reached(server: Sshd) -> Iterator[Connection]:
    with connection(HOST) as found:
        found.reach()
        yield found


def logins(server: Sshd) -> int:
    return (server.folder / "sshd.log").read_text().count("Accepted publickey")


@contextmanager
def silent() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_host_that_says_nothing(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXCOMP_SSH", f"{server.command} -o ConnectTimeout=1")
    with silent() as port, connection(HOST) as found:
        server.settings(Port=str(port))
        with pytest.raises(DeviceError, match=r"^device: it does not answer; see that it runs"):
            found.reach()


@pytest.mark.parametrize("setting", ["RemoteCommand tmux", "LocalForward 1 localhost:1", "LogLevel QUIET"])
def test_settings_for_logins_are_not_in_the_way(setting: str, server: Sshd) -> None:
    name, value = setting.split(" ", 1)
    server.settings(**{name: value, "ExitOnForwardFailure": "yes"})
    with connection(HOST) as found:
        found.reach()
        assert found.run("echo out; echo err >&2").err == "err\n"


def test_reasons_are_seen_where_ssh_is_set_to_be_quiet(server: Sshd) -> None:
    server.settings(LogLevel="QUIET", Port="1")
    with connection(HOST) as found, pytest.raises(DeviceError, match="nothing listens to ssh there"):
        found.reach()


def test_a_shell_that_talks(server: Sshd) -> None:
    """As ~/.bashrc does where it prints for every shell; a log read through it would be wrong."""
    with (server.folder / "sshd_config").open("a") as file:
        file.write('ForceCommand echo Welcome to the board; eval "$SSH_ORIGINAL_COMMAND"\n')
    server.stop()
    server.start()
    with connection(HOST) as found, pytest.raises(DeviceError) as error:
        found.reach()
    assert str(error.value) == (
        "device: its shell answers a command with text of its own (Welcome to the board);"
        " let ~/.bashrc or ~/.profile there print only where the shell is interactive"
    )


def test_messages_there_are_english(reached: Connection) -> None:
    assert reached.run("echo $LC_ALL").out == "C\n"


def test_a_long_temporary_folder(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of a socket has 108 bytes at most."""
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with connection(HOST) as found:
        for _ in range(2):
            found.run(":")
        assert logins(server) == 1
    assert list(long.iterdir()) == []


def test_what_takes_too_long_is_ended_there_and_not_tried_again(reached: Connection, tmp_path: Path) -> None:
    mark = tmp_path / "tries"
    script = f"echo try >> {mark}; sleep 4; touch {tmp_path}/late"
    start = time.monotonic()
    with pytest.raises(DeviceError, match=r"^device: no answer within 0.2 s"):
        reached.persistently(lambda: reached.run(script, timeout=0.2))
    assert time.monotonic() - start < 4
    time.sleep(4.5 - (time.monotonic() - start))
    assert (mark.read_text(), (tmp_path / "late").exists()) == ("try\n", False)


def test_a_device_that_hangs(reached: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even the time limit there helps."""
    monkeypatch.setattr(ssh, "LATE", 0.0)
    monkeypatch.setattr(ssh, "TICK", 0.1)
    start = time.monotonic()
    with pytest.raises(DeviceError, match=r"^device: no answer within 0.2 s"):
        reached.run("trap '' TERM; sleep 30", timeout=0.2)
    assert time.monotonic() - start < 20


def test_exit_codes_of_a_time_limit_are_the_commands_own(reached: Connection) -> None:
    assert [reached.run(f"exit {code}", timeout=20).code for code in (0, 124, 137)] == [0, 124, 137]


def test_a_master_that_was_killed(reached: Connection, server: Sshd) -> None:
    found = subprocess.run(
        [*reached.words("")[:-3], "-O", "check", "--", HOST], capture_output=True, text=True, check=True
    )
    os.kill(int(found.stderr.partition("pid=")[2].partition(")")[0]), 9)
    assert reached.persistently(lambda: reached.run("echo again")).out == "again\n"
    assert logins(server) == 2


def test_a_network_that_is_silently_gone(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server's side stops, as behind a cable that was pulled: keep-alives of ssh notice it."""
    quick = "-o ServerAliveInterval=1 -o ServerAliveCountMax=1"
    monkeypatch.setenv("ONNXCOMP_SSH", f"{server.command} {quick}")
    with connection(HOST) as found:
        found.reach()
        with pytest.raises(DroppedError, match="the connection dropped"):
            found.run("kill -STOP $PPID; sleep 20")
        server.drop()
        assert found.run("echo again").out == "again\n"


def test_a_drop_is_said_and_tried_again(reached: Connection, server: Sshd) -> None:
    notes: list[str] = []
    reached.note = notes.append
    server.drop()
    server.stop()
    with pytest.raises(DroppedError):
        reached.persistently(lambda: reached.run(":"))
    assert all(note.startswith("device: ") and note.endswith("; trying again") for note in notes)
    assert len(notes) == len(ssh.PAUSES)
    assert notes[-1] == "device: nothing listens to ssh there; trying again"


def test_what_is_lost_is_tried_once(reached: Connection, server: Sshd) -> None:
    """So that cleaning up does not wait as long again; one that is back is as before."""
    server.drop()
    server.stop()
    tries = []

    def work() -> None:
        tries.append(1)
        reached.run(":")

    for expected in (len(ssh.PAUSES) + 1, 1):
        tries.clear()
        with pytest.raises(DroppedError):
            reached.persistently(work)
        assert len(tries) == expected
    server.start()
    reached.persistently(work)
    server.drop()
    tries.clear()
    reached.persistently(work)
    assert len(tries) <= 2


def test_one_that_held_for_long_is_given_all_tries_again(
    reached: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "STEADY", 0.05)
    monkeypatch.setattr(ssh, "PAUSES", (0.0,))
    tries = []

    def work() -> str:
        tries.append(1)
        if len(tries) < 5:
            time.sleep(0.06)
            raise DroppedError("the connection dropped", where=HOST)
        return "done"

    assert reached.persistently(work) == "done"
    monkeypatch.setattr(ssh, "STEADY", 60.0)
    tries.clear()
    with pytest.raises(DroppedError):
        reached.persistently(work)
    assert len(tries) == 2
