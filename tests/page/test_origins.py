"""What is needed to make a run again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from onnxcomp import files
from onnxcomp.page.origins import origins
from onnxcomp.page.report import Wish, gather
from tests.made import PASSES


def test_command_data_versions_and_digests(made: Path) -> None:
    (found,) = origins(gather([made], Wish()))
    assert found.commands == (f"onnxcomp compress '{PASSES}' m.onnx",)
    facts = dict(found.facts)
    assert facts["training images"].startswith("digits (1437 images, ")
    assert facts["test images"].startswith("digits (360 images, ")
    assert "onnxcomp 0." in facts["versions"]
    digests = dict(found.files)
    assert digests["deployable.onnx"] == files.sha256(made / "deployable.onnx")
    assert digests[f"{made.parent}/m.onnx (input)"] == files.sha256(made.parent / "m.onnx")


def test_runs_of_one_command_stand_together(made: Path, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        shutil.copytree(made, tmp_path / name)
    change(tmp_path / "c" / "run.json", machine="another")
    found = origins(gather([tmp_path], Wish()))
    assert [one.title for one in found] == ["a, b", "c"]
    assert [len(one.commands) for one in found] == [1, 1]
    assert "b/trained.onnx" in dict(found[0].files)


def test_a_run_json_of_other_shapes_is_no_fault(run: Path) -> None:
    values: list[Any] = ["text", 3, [], {"x": 1}, [[]], [{"command": "x"}], [{"command": [1]}], None]
    for value in values:
        names = ("sessions", "inputs", "outputs", "versions", "data", "machine", "target", "recipe")
        change(run / "run.json", **dict.fromkeys(names, value))
        (found,) = origins(gather([run], Wish()))
        assert found.commands == ()
        assert dict(found.files)["deployable.onnx"]


def test_what_a_shell_or_a_terminal_would_obey_is_quoted(run: Path) -> None:
    change(run / "run.json", sessions=[{"command": ["onnxcomp", "$(reboot)", "\x1b[2J", "a b"]}] * 2)
    (found,) = origins(gather([run], Wish()))
    assert found.commands == (r"onnxcomp '$(reboot)' '\x1b[2J' 'a b'",)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
