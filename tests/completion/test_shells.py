"""The scripts, asked as shells ask them, and in the shells themselves where they are installed."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onnxcomp import cli
from onnxcomp.completion import shells
from tests.project import ROOT, python

# A Tab is to be answered at once.
HEAVY = ("numpy", "onnx", "onnx_graphsurgeon", "pydantic", "rich", "onnxruntime")


def asked(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[str]:
    """What the script for bash is told when the cursor is behind the last word."""
    monkeypatch.setenv("COMP_WORDS", "\n".join(("onnxcomp", *words)))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    return shells.Bash(cli.cli, {}, shells.PROGRAM, shells.VARIABLE).complete().splitlines()


def test_bash_gets_back_what_is_behind_the_equals_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    start = ("apply", "prune", "--set", "prune.criterion", "=")
    assert asked(monkeypatch, *start, "ob") == ["plain,obd", "plain,obs"]
    assert asked(monkeypatch, *start)[0] == "plain,magnitude"
    assert asked(monkeypatch, *start[:3], "prune.crit") == ["part,prune.criterion="]
    assert asked(monkeypatch, "lint", "--target", "=", "xavier-d") == ["plain,xavier-dla"]


def test_bash_words_with_commas_and_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(monkeypatch, "apply", "prune,q") == ["plain,prune,qat"]
    assert asked(monkeypatch, "apply", "'prune{frequency=3 ex") == ["part,prune{frequency=3 exclude="]
    assert asked(monkeypatch, "apply", "'a file.onnx'", "--ou") == ["plain,--output"]
    assert asked(monkeypatch, "evaluate", "m.onnx", "--latency-runs", "") == []


@pytest.mark.parametrize(
    "words",
    [("",), ("apply", "prune,qat", "--set", "prune.cri"), ("lint", "--target", ""), ("train", "--")],
    ids=["commands", "options of passes", "targets", "options"],
)
def test_nothing_heavy_is_loaded(words: tuple[str, ...]) -> None:
    code = f"""
import json, os, sys
os.environ.update(COMP_WORDS={chr(10).join(("onnxcomp", *words))!r}, COMP_CWORD="{len(words)}")
os.environ["_ONNXCOMP_COMPLETE"] = "bash_complete"
from onnxcomp import cli
try:
    cli.main([])
except SystemExit as stop:
    print(json.dumps([stop.code, [m for m in {HEAVY!r} if m in sys.modules]]))
"""
    done = python(code)
    *answer, last = done.stdout.splitlines()
    assert answer, done.stderr
    assert json.loads(last) == [0, []]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_no_command_s_module_loads_anything_heavy(name: str) -> None:
    code = f"""
import json, sys, onnxcomp.commands.{name}
print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))
"""
    assert json.loads(python(code).stdout) == []


@pytest.mark.parametrize("shell", shells.SHELLS)
def test_the_script_says_how_to_install_it_and_is_valid(shell: str, tmp_path: Path) -> None:
    text = shells.script(shell, cli.cli)
    assert f"onnxcomp completion {shell}" in "\n".join(text.splitlines()[:2])
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    path = tmp_path / "script"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run([program, "-n", path], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# `onnxcomp` as the shells find it: completes as always, and says what it is called with otherwise.
PROGRAM = f"""#!/bin/sh
if [ -n "$_ONNXCOMP_COMPLETE" ]; then {sys.executable} -m onnxcomp.cli; echo >>"$HOME/answers"; exit; fi
printf 'called[%s]\\n' "$*"
"""
START = {
    "bash": (["--norc", "--noprofile", "-i"], "source <(env _ONNXCOMP_COMPLETE=bash_source onnxcomp)"),
    "zsh": (
        ["-f", "-i"],
        "autoload -U compinit; compinit -D -u; source <(env _ONNXCOMP_COMPLETE=zsh_source onnxcomp)",
    ),
    "fish": (["--no-config", "-i"], "env _ONNXCOMP_COMPLETE=fish_source onnxcomp | source"),
}
TYPED = {
    "onnxcomp insp\t": "called[inspect",
    "onnxcomp apply prune,q\tm.onnx": "called[apply prune,qat m.onnx",
    "onnxcomp inspect mod\t": "called[inspect model.onnx",
    "onnxcomp apply prune m --set prune.crit\tob\td": "called[apply prune m --set prune.criterion=obd",
    "onnxcomp lint m.onnx --target xavier-d\t": "called[lint m.onnx --target xavier-dla",
}


class Terminal:
    """A shell behind a pseudo-terminal."""

    def __init__(self, words: list[str], folder: Path) -> None:
        environment = {
            "PATH": f"{folder}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "TERM": "dumb",
            "PS1": "ready> ",
        }
        self.log = folder / "answers"
        self.handle, other = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *words], cwd=folder, env=environment, stdin=other, stdout=other, stderr=other
        )
        os.close(other)

    def complete(self, text: str) -> None:
        """Type ``text`` and a tab; a shell that is busy drops what is typed ahead of its answer."""
        before = self.answers()
        self.type(f"{text}\t")
        end = time.monotonic() + 20
        while self.answers() == before and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.5)

    def answers(self) -> int:
        """How often the program was asked for completions."""
        return len(self.log.read_text()) if self.log.exists() else 0

    def type(self, text: str) -> None:
        os.write(self.handle, text.encode())

    def until(self, text: str, seconds: float = 20.0) -> str:
        """What comes, up to and with ``text``; all of it after that many seconds."""
        end, found = time.monotonic() + seconds, ""
        while text not in found and time.monotonic() < end:
            if select.select([self.handle], [], [], 0.1)[0]:
                found += os.read(self.handle, 4096).decode(errors="replace")
        return found

    def close(self) -> None:
        os.close(self.handle)
        self.process.kill()
        self.process.wait()


@pytest.mark.parametrize("shell", START)
def test_in_the_shell_itself(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "onnxcomp").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "onnxcomp").chmod(0o755)
    (tmp_path / "model.onnx").touch()
    words, start = START[shell]
    terminal = Terminal([program, *words], tmp_path)
    try:
        terminal.type(f"{start}; echo is''ready\n")
        assert "isready" in terminal.until("isready")
        for typed, expected in TYPED.items():
            *parts, last = typed.split("\t")
            for part in parts:
                terminal.complete(part)
            terminal.type(f"{last}\n")
            assert expected in terminal.until(expected)
    finally:
        terminal.close()
