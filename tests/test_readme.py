"""The README's commands, and that the CI script runs the very one that the README gives."""

from __future__ import annotations

import re
import subprocess

import pytest

from onnxcomp import cli
from tests.project import ROOT

BLOCK = re.compile(r"^```sh (\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def blocks() -> dict[str, str]:
    found = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(dict(found)) == len(found), "two blocks of one name"
    return {name: text.strip() for name, text in found}


@pytest.mark.parametrize("name", ["demo", "test"])
def test_command_is_one_line_from_python_alone(blocks: dict[str, str], name: str) -> None:
    steps = blocks[name].split(" && ")
    assert "\n" not in blocks[name]
    assert steps[0] == "python3 -m venv .venv"
    assert all(step.startswith(".venv/bin/") for step in steps[1:])


def test_ci_runs_the_test_command(blocks: dict[str, str]) -> None:
    done = subprocess.run([ROOT / ".ci" / "run", "--show"], capture_output=True, text=True, check=True)
    setup, tests = done.stdout.splitlines()
    python = setup.split(" ", 1)[0]
    assert python in ("python3.11", "python3.12", "python3.10", "python3")
    assert f"{setup} && {tests}".replace(".venv-ci", ".venv").replace(python, "python3", 1) == blocks["test"]


def test_commands_that_the_readme_names_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    code = re.findall(r"^```.*?^```|`[^`\n]+`", text, re.MULTILINE | re.DOTALL)
    named = {name for piece in code for name in re.findall(r"\bonnxcomp ([a-z]+)", piece)}
    assert named <= set(cli.COMMANDS)
    assert "demo" in named


def test_links_into_the_repository_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
