"""What lies in a run directory, complete or not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from onnxcomp import recipe as recipes
from onnxcomp.page import runs
from onnxcomp.page.runs import NotARunError
from tests.made import PASSES


def test_a_complete_run(made: Path) -> None:
    steps = []
    found = runs.read(made, "run", lambda: steps.append(1))
    assert len(steps) == runs.steps(made) == 2
    assert [one.label for one in found.networks] == ["dense, as given", "pruned + INT8 + distilled"]
    assert [one.target for one in found.networks] == ["", "xavier"]
    assert [one.label for one in found.trainings] == ["run/training"]
    assert found.problems == ()
    assert recipes.parse(found.recipe) == recipes.parse(PASSES)
    assert found.files.keys() == {"dense.onnx", "deployable.onnx"}
    assert found.origin["outputs"]["deployable.onnx"] == found.files["deployable.onnx"]


def test_a_run_that_was_killed_says_what_is_missing(run: Path) -> None:
    for name in ("results.json", "deployable.onnx", "trained.onnx"):
        (run / name).unlink()
    found = runs.read(run, "run")
    assert [one.label for one in found.networks] == ["dense, as given"]
    assert found.networks[0].accuracy is None
    assert found.networks[0].parameters.total > 0
    assert recipes.parse(found.recipe) == recipes.parse(PASSES)
    assert found.problems == (
        "run: there is no results.json: accuracy and latency were not measured yet",
        "run: there is no trained.onnx, deployable.onnx: the run was stopped before it was done",
    )


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("results.json", "results.json: is damaged"),
        ("run.json", "run: there is no run.json"),
        ("dense.onnx", "dense.onnx: "),
        ("training/config.json", "config.json is damaged"),
        ("training/metrics.jsonl", "damaged line left out"),
    ],
)
def test_a_damaged_file_costs_no_other(run: Path, name: str, line: str) -> None:
    (run / name).write_bytes(b"\xff{half")
    found = runs.read(run, "run")
    assert any(line in problem for problem in found.problems), found.problems
    assert found.networks[-1].label == "pruned + INT8 + distilled"


def test_an_older_run_names_its_target_in_the_row(run: Path) -> None:
    (run / "run.json").unlink()
    assert runs.read(run, "run").networks[-1].target == "xavier"


def test_a_file_that_was_changed_is_told(run: Path) -> None:
    shutil.copy(run / "dense.onnx", run / "deployable.onnx")
    problems = runs.read(run, "run").problems
    assert "run/deployable.onnx: was changed after the run wrote it (its SHA-256 is another)" in problems


def test_a_training_alone(made: Path) -> None:
    found = runs.read(made / "training", "alone")
    assert not found.networks
    assert found.trainings[0].series["loss/total"]
    assert "alone: there is no run.json" in found.problems[0]


def test_the_demo_s_folders_come_in_the_order_of_its_table(tmp_path: Path) -> None:
    for name in ("another", "dense", "distilled", "int8", "notes", "pruned"):
        (tmp_path / name).mkdir()
        if name != "notes":
            (tmp_path / name / "results.json").write_text(json.dumps({}))
    names = [path.name for path in runs.expand(tmp_path)]
    assert names == ["dense", "pruned", "int8", "distilled", "another"]
    assert runs.expand(tmp_path / "int8") == [tmp_path / "int8"]


def test_what_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, why in (("gone", "no such folder"), ("file", "is not a folder"), (".", "holds no run")):
        with pytest.raises(NotARunError, match=why):
            runs.expand(tmp_path / path)


@pytest.mark.parametrize(
    ("recipe", "before", "name"),
    [
        ("prune", [], "pruned"),
        ("prune,qat", ["prune"], "+ INT8"),
        ("prune,qat,distill", ["prune", "qat"], "+ distilled"),
        ("channels,qat", ["prune"], "channels cut + INT8"),
        ("", [], "compressed"),
        ("<b>", [], "compressed"),
        ("prune{gone=1 exclude=[a,b]},qat", ["prune"], "+ INT8"),
    ],
)
def test_names(recipe: str, before: list[str], name: str) -> None:
    assert runs.name_of(recipe, before) == name
