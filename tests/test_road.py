"""Every command is on the road once."""

from __future__ import annotations

from onnxcomp import cli
from tests.project import PACKAGE


def test_each_module_with_a_command_is_on_the_road_once() -> None:
    modules = (PACKAGE / "commands").glob("*.py")
    found = {path.stem for path in modules if "\n@click.command(" in path.read_text(encoding="utf-8")}
    assert set(cli.COMMANDS) == found
    assert len(cli.COMMANDS) == len(found)
