"""What loads when, and which part may import which."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from onnxcomp import cli
from tests.project import OPTIONAL, PACKAGE, ROOT, imports, python, sources

# Refuses the optional packages, as an environment without them would, and notes who asked.
WITHOUT_OPTIONAL = f"""
import json, sys
class Absent:
    asked = []
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {OPTIONAL!r}:
            self.asked.append(name)
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
"""

HELP = """
from onnxcomp import cli
try:
    cli.main(sys.argv[1:])
except SystemExit as stop:
    assert stop.code == 0, stop.code
print(json.dumps(Absent.asked))
"""

# Parts that nothing under `passes` may reach, even through another module: a pass edits a graph,
# and what it knows of data or of a run comes through its context.
OUT_OF_A_PASS_S_REACH = {
    "calibration", "cli", "commands", "data", "deploy", "extras", "parity", "pipeline", "report",
    "runtime", "training",
}  # fmt: skip


def part_of(path: Path) -> str:
    """The module or package directly under onnxcomp that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.fixture(scope="module")
def edges() -> dict[str, set[str]]:
    """Which part imports which."""
    parts = {part_of(path) for path in sources()} - {"__init__"}
    found: dict[str, set[str]] = defaultdict(set)
    for path in sources():
        for name in imports(path):
            top, _, rest = name.partition(".")
            target = rest.split(".")[0]
            if top == "onnxcomp" and target in parts and target != part_of(path):
                found[part_of(path)].add(target)
    return found


def reach(edges: dict[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = edges.get(waiting.pop(), set()) - found
        found |= new
        waiting += new
    return found


def test_import_loads_no_optional_package() -> None:
    done = python(WITHOUT_OPTIONAL + "import onnxcomp\nprint(json.dumps(Absent.asked))")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == []


@pytest.mark.parametrize("command", ["", *cli.COMMANDS], ids=lambda name: name or "onnxcomp")
def test_help_loads_no_optional_package(command: str) -> None:
    done = python(WITHOUT_OPTIONAL + HELP, *command.split(), "--help")
    assert (done.returncode, done.stderr) == (0, "")
    text, asked = done.stdout.rstrip().rsplit("\n", 1)
    assert json.loads(asked) == []
    assert text.startswith("Usage: onnxcomp")


def test_a_command_does_not_load_the_others() -> None:
    name, *others = cli.COMMANDS
    code = HELP.replace("Absent.asked", "[m for m in sys.modules if m.startswith('onnxcomp.commands.')]")
    done = python("import json, sys" + code, name, "--help")
    loaded = json.loads(done.stdout.rstrip().rsplit("\n", 1)[1])
    assert f"onnxcomp.commands.{name}" in loaded
    assert not {f"onnxcomp.commands.{other}" for other in others} & set(loaded)


def test_imports_go_one_way(edges: dict[str, set[str]]) -> None:
    assert not {part for part in edges if part in reach(edges, part)}


def test_passes_reach_no_training_deployment_or_runtime(edges: dict[str, set[str]]) -> None:
    assert not reach(edges, "passes") & OUT_OF_A_PASS_S_REACH
    loaded = {name.split(".")[0] for path in sources(PACKAGE / "passes") for name in imports(path)}
    assert not loaded & set(OPTIONAL)


def test_only_the_command_line_imports_the_command_line(edges: dict[str, set[str]]) -> None:
    users = {part for part, targets in edges.items() if targets & {"cli", "commands"}}
    assert users <= {"__main__", "cli", "commands"}


def test_no_file_imports_a_link_the_shim_or_onnxruntime_by_name() -> None:
    banned = {"passes", "models", "cli", "onnxruntime"}
    for path in (*sources(), *sources(ROOT / "tests")):
        assert not banned & {name.split(".")[0] for name in imports(path)}, path
