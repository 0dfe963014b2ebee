"""What reaches a terminal, a pipe, a file or a CI job: the command in a process of its own."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

from onnxcomp import model as models
from onnxcomp.model import Preprocessing
from tests import zoo
from tests.project import ROOT

CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
STYLES = re.compile(r"\x1b\[[0-9;]*m")
COMMANDS = {
    "inspect": ("inspect", "m.onnx"),
    "finalize": ("finalize", "m.onnx", "-o", "d.onnx", "--target", "xavier"),
    "lint": ("lint", "m.onnx", "--target", "xavier"),
    "targets": ("targets",),
    "train": ("train", "m.onnx", "-o", "t.onnx", "--data", "digits", "--epochs", "0.1", "--threads", "1"),
    "help": ("--help",),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = models.from_proto(zoo.densenet(size=8, layers=(1, 1), growth=4))
    model.preprocessing = Preprocessing((80.0,) * 3, (90.0,) * 3)
    models.save(model, tmp_path / "m.onnx")
    return tmp_path


def environment(folder: Path, **changes: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "OMP_NUM_THREADS")}
    return {**kept, "HOME": str(folder), "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **changes}


def on_terminal(folder: Path, *words: str, **changes: str) -> str:
    """All that a terminal is sent."""
    handle, other = pty.openpty()
    command = [sys.executable, "-m", "onnxcomp.cli", *words]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(folder, **changes), stdin=other, stdout=other, stderr=other
    )
    os.close(other)
    found = b""
    while True:
        if not select.select([handle], [], [], 60.0)[0]:
            process.kill()
            pytest.fail(f"silent for a minute after {found[-200:]!r}")
        try:
            part = os.read(handle, 65536)
        except OSError:  # Linux's way to say that nobody holds the other end any more
            break
        if not part:
            break
        found += part
    os.close(handle)
    assert process.wait(timeout=60) == 0, found
    return found.decode().replace("\r\n", "\n")


def piped(folder: Path, *words: str, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "onnxcomp.cli", *words],
        cwd=folder,
        env=environment(folder, **changes),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_a_pipe_gets_plain_text_whatever_its_width(name: str, folder: Path) -> None:
    narrow = piped(folder, *COMMANDS[name], COLUMNS="30")
    assert not CODES.search(narrow.stdout + narrow.stderr)
    assert "\r" not in narrow.stdout + narrow.stderr
    assert "…" not in narrow.stdout
    if name not in ("train", "help"):  # training takes longer; click folds help to the width
        wide = piped(folder, *COMMANDS[name], COLUMNS="300")
        assert wide.stdout == narrow.stdout
        assert wide.stderr == narrow.stderr == ""


@pytest.mark.parametrize(
    ("name", "change"),
    [("inspect", {"CI": "true"}), ("train", {"CI": "true"}), ("inspect", {"TERM": "dumb"})],
    ids=lambda value: str(value),
)
def test_a_ci_job_and_a_dumb_terminal_get_plain_text(name: str, change: dict[str, str], folder: Path) -> None:
    text = on_terminal(folder, *COMMANDS[name], **change)
    assert not CODES.search(text)
    assert "\r" not in text


@pytest.mark.parametrize("name", ["inspect", "train"])
def test_without_colour_nothing_is_coloured(name: str, folder: Path) -> None:
    assert not STYLES.search(on_terminal(folder, *COMMANDS[name], NO_COLOR="1"))


def test_a_terminal_sees_a_bar_and_it_is_gone_from_what_stays(folder: Path) -> None:
    text = on_terminal(folder, *COMMANDS["train"])
    assert CODES.search(text)
    assert "images read" in text
    assert "test accuracy" in text.splitlines()[-1]


def test_ci_that_is_off_is_a_terminal(folder: Path) -> None:
    assert CODES.search(on_terminal(folder, *COMMANDS["inspect"], CI="false"))


def test_an_error_is_one_plain_line(folder: Path) -> None:
    command = [sys.executable, "-m", "onnxcomp.cli", "inspect", "n.onnx"]
    done = subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=60, check=False
    )
    line = "Error: n.onnx: there is no such file; check the path\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)
