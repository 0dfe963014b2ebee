"""Tests of onnxcomp.training.run_dir."""

from __future__ import annotations

import json

import numpy as np
import pytest

from onnxcomp.errors import CheckpointError, OnnxcompError, TrainingError
from onnxcomp.training import checkpoint
from onnxcomp.training.checkpoint import Checkpoint, Identity
from onnxcomp.training.run_dir import RunDir

IDENTITY = Identity("abc", {"lr": 0.1, "epochs": 2.0})


def started(path):
    run = RunDir(path, resume=False)
    run.begin(IDENTITY, 0)
    return run


def save(run, step):
    state = Checkpoint(step, {"w": np.ones(2, np.float32)}, {})
    checkpoint.save(run.checkpoint, state, IDENTITY)


def test_nothing_is_created_before_begin(tmp_path):
    run = RunDir(tmp_path / "runs" / "a", resume=False)
    assert not run.path.exists()
    run.begin(IDENTITY, 0)
    assert json.loads(run.config.read_text()) == {"model": "abc", "lr": 0.1, "epochs": 2.0}
    assert run.records() == []


def test_a_run_is_not_written_over(tmp_path):
    started(tmp_path / "a")
    with pytest.raises(TrainingError, match="a: is not empty; add --resume or choose another --run-dir"):
        RunDir(tmp_path / "a", resume=False)


def test_a_folder_of_something_else_is_neither_used_nor_resumed(tmp_path):
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(TrainingError, match="is not empty"):
        RunDir(tmp_path, resume=False)
    with pytest.raises(TrainingError, match="holds no training run"):
        RunDir(tmp_path, resume=True)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(TrainingError, match="is not a folder"):
        RunDir(tmp_path / "a", resume=True)
    with pytest.raises(OnnxcompError, match="cannot be created"):
        RunDir(tmp_path / "a" / "b", resume=False).begin(IDENTITY, 0)


@pytest.mark.parametrize("empty", [True, False])
def test_resume_with_nothing_there_has_no_checkpoint(tmp_path, empty):
    if not empty:
        started(tmp_path / "a")
    assert RunDir(tmp_path / "a", resume=True).saved(IDENTITY) is None


def test_resume_finds_the_checkpoint(tmp_path):
    save(started(tmp_path / "a"), 5)
    saved = RunDir(tmp_path / "a", resume=True).saved(IDENTITY)
    assert saved is not None
    assert saved.step == 5


@pytest.mark.parametrize("with_checkpoint", [True, False])
def test_another_run_is_refused_even_before_its_first_checkpoint(tmp_path, with_checkpoint):
    run = started(tmp_path / "a")
    if with_checkpoint:
        save(run, 5)
    with pytest.raises(CheckpointError, match="belongs to another model"):
        RunDir(run.path, resume=True).saved(Identity("other", IDENTITY.settings))
    with pytest.raises(CheckpointError, match=r"belongs to a run with epochs 2\.0, not 3\.0"):
        RunDir(run.path, resume=True).saved(Identity("abc", {**IDENTITY.settings, "epochs": 3.0}))


def test_metrics_beyond_the_checkpoint_and_a_line_cut_short_are_dropped(tmp_path):
    run = started(tmp_path / "a")
    for step in (1, 2, 3):
        run.log({"step": step, "loss": step / 3})
    with run.metrics.open("a") as file:
        file.write('{"step": 4, "lo')
    run.begin(IDENTITY, 2)
    assert run.records() == [{"step": 1, "loss": 1 / 3}, {"step": 2, "loss": 2 / 3}]
    run.log({"step": 3})
    assert [record["step"] for record in run.records()] == [1, 2, 3]


def test_metrics_that_cannot_be_written_are_an_error_of_one_line(tmp_path):
    run = started(tmp_path / "a")
    run.metrics.unlink()
    run.metrics.mkdir()
    with pytest.raises(TrainingError, match=r"metrics\.jsonl: cannot be written \(Is a directory\)"):
        run.log({"step": 1})


def test_what_a_kill_leaves_behind_is_removed_and_does_not_count(tmp_path):
    run = RunDir(tmp_path / "a", resume=False)
    run.path.mkdir()
    left = run.path / ".config.json.x1y2.part"
    left.write_text("{")
    assert RunDir(run.path, resume=True).saved(IDENTITY) is None
    run.begin(IDENTITY, 0)
    assert not left.exists()


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl"])
@pytest.mark.parametrize("content", ["[1]\n", "nonsense\n", '{"step": "x", "a": 1}\n'])
def test_damaged_files_are_errors_of_one_line(tmp_path, name, content):
    run = started(tmp_path / "a")
    (run.path / name).write_text(content)
    with pytest.raises(CheckpointError, match=f"{name}: is damaged"):
        run.saved(IDENTITY) if name == "config.json" else run.records()
