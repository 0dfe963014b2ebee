"""The device over a real sshd: commands, folders, and what is left there."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from onnxcomp.deploy.machine import DeviceError
from onnxcomp.deploy.remote import RemoteMachine, connect, ssh
from tests.deploy.remote.sshd import HOST, Sshd, needs_sshd

pytestmark = needs_sshd


def left(server: Sshd) -> list[str]:
    """Folders of work that are there."""
    work = server.home / ".cache/onnxcomp/work"
    return [path.name for path in work.iterdir()] if work.exists() else []


WORDS = ("a b", "$HOME", "`id`", "'", '"', "\\", "*", "-n", "", "a\nb", "é", "; false", "!x", "\\'", "a\tb ")


def test_words_arrive_as_they_are(machine: RemoteMachine) -> None:
    for timeout in (None, 20.0):  # with one, a shell more reads them
        done = machine.run(["printf", "%s|", *WORDS], timeout=timeout)
        assert (done.code, done.out, done.err) == (0, "".join(f"{word}|" for word in WORDS), "")


def test_exit_codes(machine: RemoteMachine) -> None:
    assert machine.run(["sh", "-c", "echo out; echo err >&2; exit 3"]).code == 3
    assert machine.run(["sh", "-c", "exit 255"]).code == 254  # 255 is ssh's own
    assert machine.run(["no-such-command"]).code == 127


def test_a_command_that_takes_too_long(machine: RemoteMachine) -> None:
    with pytest.raises(DeviceError, match=r"^device: no answer within 0.1 s; see whether"):
        machine.run(["sleep", "60"], timeout=0.1)


def test_a_folder_of_work_is_gone_at_the_end(machine: RemoteMachine, server: Sshd) -> None:
    with machine.workspace() as folder:
        machine.run(["touch", f"{folder}/file"])
        assert len(left(server)) == 1
    assert left(server) == []
    with pytest.raises(ValueError, match=r"stop"), machine.workspace():
        raise ValueError("stop")
    assert left(server) == []


def test_what_broken_runs_left_is_removed_after_a_day(machine: RemoteMachine, server: Sshd) -> None:
    root = Path(machine.cache("work"))
    for name, age in (("w-old", 25 * 3600), ("w-new", 3600)):
        (root / name).mkdir()
        os.utime(root / name, (time.time() - age,) * 2)
    with machine.workspace():
        assert len(left(server)) == 2
    assert left(server) == ["w-new"]


def test_commands_share_a_connection_that_ends_with_them(server: Sshd) -> None:
    with connect(HOST) as machine:
        folder = machine.connection.folder
        for _ in range(3):
            machine.run(["true"])
        assert (server.folder / "sshd.log").read_text().count("Accepted publickey") == 1
    assert not folder.exists()


def test_a_connection_that_drops_between_commands(machine: RemoteMachine, server: Sshd) -> None:
    server.drop()
    assert machine.run(["echo", "again"]).out == "again\n"


def test_a_device_that_is_gone(machine: RemoteMachine, server: Sshd) -> None:
    server.drop()
    server.stop()
    start = time.monotonic()
    with pytest.raises(DeviceError, match=r"^device: (nothing listens to ssh there|the connection dropped)"):
        machine.run(["true"])
    assert time.monotonic() - start >= 1.5  # it was tried again


BAD = {
    "no key": ({"IdentityFile": "/dev/null"}, "it refuses your key; copy it there with ssh-copy-id"),
    "unknown": (
        {"UserKnownHostsFile": "/dev/null"},
        "its host key is not known; log in once with ssh device",
    ),
    "port": ({"Port": "1"}, "nothing listens to ssh there"),
    "name": ({"HostName": "no-such-host.invalid"}, "there is no host of that name"),
    "settings": ({"NoSuchOption": "1"}, "ssh refuses its settings"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_host_that_cannot_be_reached(name: str, server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "PAUSES", (60.0,))
    changes, line = BAD[name]
    server.settings(**changes)
    start = time.monotonic()
    with pytest.raises(DeviceError) as error, connect(HOST):
        pass
    assert str(error.value).startswith(f"device: {line}")
    assert time.monotonic() - start < 60  # the first try says it


def test_another_host_key(server: Sshd) -> None:
    other = (server.folder / "user.pub").read_text()
    (server.folder / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {other}")
    with (
        pytest.raises(DeviceError, match=r"its host key is another than before; .*ssh-keygen -R device"),
        connect(HOST),
    ):
        pass


@pytest.mark.parametrize(
    "host", ["-oProxyCommand=touch x", "a b", "a;b", "", "user@", "$(id)", "a\nb", "ssh://"]
)
def test_what_is_no_host(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXCOMP_SSH", "/no/such/ssh")
    with pytest.raises(DeviceError, match=r"is no host; for example --host user@jetson"), connect(host):
        pass


def test_no_ssh_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXCOMP_SSH", "/no/such/ssh")
    with (
        pytest.raises(DeviceError, match=r"^device: there is no ssh here; install openssh-client$"),
        connect(HOST),
    ):
        pass


UNUSABLE = {
    "ssh -F 'x": r"ONNXCOMP_SSH: is no command line \(No closing quotation\); for example",
    "/": r"ONNXCOMP_SSH: cannot be run \(Permission denied\); let it name an ssh program",
}


@pytest.mark.parametrize("value", UNUSABLE)
def test_an_unusable_ssh(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXCOMP_SSH", value)
    with pytest.raises(DeviceError, match=f"^{UNUSABLE[value]}"), connect(HOST):
        pass


def test_an_ssh_that_logs_and_is_in_the_home(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """The master of the connection logs as long as it lives."""
    monkeypatch.setenv("HOME", str(server.folder))
    monkeypatch.setenv("ONNXCOMP_SSH", "ssh -F ~/config -v")
    with connect(HOST) as machine, machine.workspace() as folder:
        assert machine.run(["echo", "out"]).out == "out\n"
        lines: list[str] = []
        assert machine.job(["echo", "line"], folder, lines.append) == 0
        assert lines == ["line"]
