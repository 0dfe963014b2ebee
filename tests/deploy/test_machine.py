from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from onnxcomp.deploy import machine as machines
from onnxcomp.deploy.machine import DeviceError, LocalMachine

SLEEPS = "import os, subprocess, time; print(os.getpid(), flush=True); subprocess.run(['sleep', '60'])"


def job(tmp_path: Path, code: str, timeout: float | None = None) -> tuple[int, list[str]]:
    lines: list[str] = []
    words = [sys.executable, "-c", code]
    return LocalMachine().job(words, str(tmp_path), lines.append, timeout=timeout), lines


def sleepers(session: int) -> list[int]:
    """Processes of the group that run."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def test_a_short_command() -> None:
    done = LocalMachine().run(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.code, done.out, done.err) == (3, "out\n", "err\n")


def test_a_command_that_is_not_there() -> None:
    assert LocalMachine().run(["/no/such/command"]).code == 127
    with pytest.raises(DeviceError, match=r"^/no/such/command: cannot be run"):
        LocalMachine().job(["/no/such/command"], "/", print)


def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    path = tmp_path / "trtexec"
    path.write_bytes(b"\x7fELF of another processor")
    path.chmod(0o755)
    for place in (path, path / "trtexec"):
        assert LocalMachine().run([str(place)]).code == 127
        with pytest.raises(DeviceError, match=rf"^{place}: cannot be run"):
            LocalMachine().job([str(place)], "/", print)


def test_a_short_command_that_takes_too_long() -> None:
    with pytest.raises(DeviceError, match=r"^this machine: sleep has not ended after 0 s"):
        LocalMachine().run(["sleep", "60"], timeout=0.1)


def test_lines_come_while_it_runs(tmp_path: Path) -> None:
    first = threading.Event()
    seen: list[tuple[str, bool]] = []
    go = tmp_path / "go"

    def line(text: str) -> None:
        if text == "one":
            go.touch()  # it does not end before this line was given to us
            first.set()
        seen.append((text, first.is_set()))

    code = "import os\nprint('one', flush=True)\nwhile not os.path.exists('go'): pass\nprint('two')"
    assert LocalMachine().job([sys.executable, "-c", code], str(tmp_path), line) == 0
    assert seen == [("one", True), ("two", True)]


def test_lines_as_text(tmp_path: Path) -> None:
    code = r"import os; os.write(1, b'a\r\n\xff\n\nlast'); os.write(2, b' and err')"
    assert job(tmp_path, code) == (0, ["a", "\ufffd", "", "last and err"])


def test_exit_codes(tmp_path: Path) -> None:
    assert job(tmp_path, "raise SystemExit(7)")[0] == 7
    assert job(tmp_path, "import os; os.kill(os.getpid(), 9)")[0] == -9


@pytest.mark.parametrize("ended", ["timeout", "interrupt", "error"])
def test_what_is_given_up_runs_no_more(ended: str, tmp_path: Path) -> None:
    groups: list[int] = []

    def line(text: str) -> None:
        groups.append(int(text))
        if ended == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        if ended == "error":
            raise ValueError(text)

    expected = {"timeout": DeviceError, "interrupt": KeyboardInterrupt, "error": ValueError}[ended]
    with pytest.raises(expected):
        LocalMachine().job([sys.executable, "-c", SLEEPS], str(tmp_path), line, timeout=3.0)
    until = time.monotonic() + 30
    while sleepers(groups[0]) and time.monotonic() < until:
        time.sleep(0.01)
    assert sleepers(groups[0]) == []


def test_one_that_ignores_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "GRACE", 0.2)
    with pytest.raises(DeviceError, match="has not ended after 1 s"):
        job(
            tmp_path,
            "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)",
            0.6,
        )


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    here = LocalMachine()
    source = tmp_path / "a file"
    source.write_bytes(b"content")
    there = here.put(source, "name")
    here.get(there, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"content"
    with pytest.raises(DeviceError, match="there is no such file; build it again"):
        here.get(str(tmp_path / "missing"), tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"content"
    assert Path(here.cache("engines")) == tmp_path / "cache/onnxcomp/engines"
    with here.workspace() as folder:
        Path(folder, "left").touch()
    assert not Path(folder).exists()
