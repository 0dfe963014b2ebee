"""Every code block of README.md and docs/ is run, or says why not and is parsed."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from onnxcomp import cli
from tests.docs import folder
from tests.docs.blocks import PAGES, Block, Command, blocks_of, calls, commands_of

SHELL = ("sh", "console")
LANGUAGES = (*SHELL, "python", "yaml", "toml", "text")
VERDICTS = ("validate", "lint")
"""Commands whose exit code 1 is about the random networks of these tests."""

SMALLER = {
    "export densenet201 ": "export lenet5 ",
    "--epochs 40": "--epochs 1",
}
"""What blocks name, and what takes its place so that a page takes seconds."""

ALL = [block for page in PAGES for block in blocks_of(page)]


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("given")
    folder.fill(made)
    return made


@pytest.mark.parametrize("block", ALL, ids=lambda block: block.where)
def test_block_says_what_it_is(block: Block) -> None:
    assert block.language in LANGUAGES, f"{block.where}: {block.language or 'no language'}; output is text"
    assert not (block.reason and block.file)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_run_in_their_order(page: Path, given: Path, tmp_path: Path) -> None:
    place = Path(shutil.copytree(given, tmp_path / "folder"))
    folder.programs(place)
    for block in blocks_of(page):
        if block.reason or block.language == "text":
            continue
        if block.file:
            target = place / block.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            _run([sys.executable, "-W", "error", "-c", block.text], block, place, (0,))
        elif block.language in SHELL:
            for command in commands_of(block):
                _run_command(command, block, place)


def _run_command(command: Command, block: Block, place: Path) -> None:
    line = command.line
    for large, small in SMALLER.items():
        line = line.replace(large, small)
    words = calls(line)
    codes = (0, 1) if any(call[0] in VERDICTS for call in words) and command.prints is None else (0,)
    printed = _run(["bash", "-eu", "-o", "pipefail", "-c", line], block, place, codes)
    if command.prints is not None:
        assert alike(command.prints, printed), f"{block.where}: {line}\nprints now\n{printed}"


def _run(words: list[str], block: Block, place: Path, codes: tuple[int, ...]) -> str:
    done = subprocess.run(
        words,
        cwd=place,
        env=folder.environment(place),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    said = f"{done.stdout}\n{done.stderr}"
    assert done.returncode in codes, f"{block.where}: exit code {done.returncode}\n{words[-1]}\n{said}"
    return done.stdout


def alike(expected: str, printed: str) -> bool:
    """Whether two outputs have the same words; any number stands for any, ``...`` alone for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "..." else re.escape(_plain(line)) + r"\n"
        for line in expected.splitlines()
    )
    return re.fullmatch(pattern, "".join(f"{_plain(line)}\n" for line in printed.splitlines())) is not None


def _plain(line: str) -> str:
    words = " ".join(re.sub(r"[-+]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?", "0", line).split())
    return re.sub(r"(0 [a-z]+?)s\b", r"\1", words)  # one thread, two threads


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("top-1  99.4 %\n", "top-1 7 %\n", True),
        ("top-1  99.4 %\n", "top-5 99.4 s\n", False),
        ("a\n...\nz\n", "a\nb\nc\nz\n", True),
        ("a\n...\nz\n", "a\nz\n", True),
        ("a\n...\nz\n", "a\nb\nc\n", False),
        ("a\n", "a\nb\n", False),
        ("CPU, 2 threads\n", "CPU, 1 thread\n", True),
    ],
)
def test_outputs_are_compared_by_their_words(expected: str, printed: str, same: bool) -> None:
    assert alike(expected, printed) is same


def _lines(block: Block) -> Iterator[str]:
    if block.language in SHELL:
        yield from (command.line for command in commands_of(block))
    elif block.language == "yaml":
        yield from _run_keys(yaml.safe_load(block.text))


def _run_keys(value: Any) -> Iterator[str]:
    """The commands of a job for continuous integration."""
    if isinstance(value, dict):
        yield from (text for key, text in value.items() if key == "run" and isinstance(text, str))
        yield from (line for inner in value.values() for line in _run_keys(inner))
    elif isinstance(value, list):
        yield from (line for inner in value for line in _run_keys(inner))


CALLS = [(block.where, call) for block in ALL for line in _lines(block) for call in calls(line)]


@pytest.mark.parametrize(("where", "call"), CALLS, ids=[f"{where} {call[0]}" for where, call in CALLS])
def test_each_command_parses(where: str, call: list[str]) -> None:
    name, *words = call
    command = cli.cli.get_command(click.Context(cli.cli), name)
    assert command is not None, f"{where}: there is no command {name}"
    with command.make_context(name, words):  # raises for an option or operand that does not fit
        pass


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "python"], ids=lambda block: block.where)
def test_python_parses(block: Block) -> None:
    assert ast.parse(block.text).body


def test_most_blocks_are_run() -> None:
    runnable = [block for block in ALL if block.language in (*SHELL, "python")]
    assert len([block for block in runnable if not block.reason]) >= len(runnable) / 2


@pytest.mark.parametrize("large", SMALLER)
def test_what_is_made_smaller_is_still_written(large: str) -> None:
    assert any(large in block.text for block in ALL)
