"""Tests of onnxcomp.training.run_dir."""

from __future__ import annotations

import json

import numpy as np
import pytest

from onnxcomp.errors import CheckpointError, OnnxcompError, TrainingError
from onnxcomp.training import lock
from onnxcomp.training.checkpoint import Checkpoint
from onnxcomp.training.identity import Identity
from onnxcomp.training.run_dir import RunDir

IDENTITY = Identity("abc", {"lr": 0.1, "epochs": 2.0})


def silent(text):
    raise AssertionError(text)


def state(step):
    return Checkpoint(step, {"w": np.ones(2, np.float32)}, {})


@pytest.fixture
def run(tmp_path):
    """A run that has begun and ended."""
    with RunDir(tmp_path / "a", resume=False, keep=2) as run:
        run.begin(IDENTITY, 0, silent)
    return run


def saved(run, identity=IDENTITY, notes=None):
    with RunDir(run.path, resume=True) as again:
        found = again.saved(identity, silent if notes is None else notes.append)
        assert again.kept == (found.step if found else 0)
        return found and found.step


def test_nothing_is_created_before_begin(tmp_path):
    with RunDir(tmp_path / "runs" / "a", resume=False) as run:
        assert not run.path.exists()
        run.begin(IDENTITY, 0, silent)
        assert json.loads(run.config.read_text()) == {"model": "abc", "lr": 0.1, "epochs": 2.0}
        assert run.journal.records() == []


def test_a_run_is_not_written_over(run):
    with pytest.raises(TrainingError, match="a: is not empty; add --resume or choose another --run-dir"):
        RunDir(run.path, resume=False)


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
        RunDir(tmp_path / "a" / "b", resume=False).begin(IDENTITY, 0, silent)


@pytest.mark.parametrize("there", [True, False])
def test_resume_with_nothing_there_has_no_checkpoint(tmp_path, there):
    if there:
        (tmp_path / "a").mkdir()
    with RunDir(tmp_path / "a", resume=True) as run:
        assert run.saved(IDENTITY, silent) is None
        assert run.kept == 0
        run.begin(IDENTITY, 0, silent)


def test_the_newest_checkpoint_is_found(run):
    with run:
        run.save(state(5), IDENTITY)
        run.save(state(7), IDENTITY)
        assert run.kept == 7
    assert saved(run) == 7


@pytest.mark.parametrize("with_checkpoint", [True, False])
def test_another_run_is_refused_even_before_its_first_checkpoint(run, with_checkpoint):
    if with_checkpoint:
        run.save(state(5), IDENTITY)
    with pytest.raises(CheckpointError, match=r"config\.json: belongs to another model"):
        saved(run, Identity("other", IDENTITY.settings))
    with pytest.raises(CheckpointError, match=r"belongs to a run with epochs 2\.0, not 3\.0"):
        saved(run, Identity("abc", {**IDENTITY.settings, "epochs": 3.0}))


def test_a_damaged_checkpoint_costs_the_steps_since_the_one_before(run):
    with run:
        for step in (5, 7):
            for logged in (step - 1, step):
                run.log({"step": logged})
            run.save(state(step), IDENTITY)
    path = run.checkpoints.path(7)
    path.write_bytes(path.read_bytes()[:-9])
    notes: list[str] = []
    with RunDir(run.path, resume=True) as again:
        found = again.saved(IDENTITY, notes.append)
        assert found is not None
        assert found.step == again.kept == 5
        again.begin(IDENTITY, 5, silent)
        assert again.checkpoints.steps() == [5]
        assert [record["step"] for record in again.journal.records()] == [4, 5]
    assert len(notes) == 1
    assert "step-00000007.safetensors: is a damaged checkpoint" in notes[0]


@pytest.mark.parametrize("content", ["[1]\n", "nonsense\n", '{"step": "x", "a": 1}\n', ""])
def test_a_damaged_config_matters_only_without_a_checkpoint(run, content):
    run.config.write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json: is damaged; choose another --run-dir"):
        saved(run)
    run.save(state(5), IDENTITY)
    notes: list[str] = []
    assert saved(run, notes=notes) == 5
    assert notes == [f"{run.config}: is damaged; the checkpoint says what the run is"]
    with pytest.raises(CheckpointError, match="belongs to another model"):
        saved(run, Identity("other", IDENTITY.settings))


def test_begin_drops_metrics_beyond_the_checkpoint(run):
    with run:
        for step in (1, 2, 3):
            run.log({"step": step, "loss": step / 3})
    with RunDir(run.path, resume=True) as again:
        again.begin(IDENTITY, 2, silent)
        assert again.journal.records() == [{"step": 1, "loss": 1 / 3}, {"step": 2, "loss": 2 / 3}]


def test_whether_a_step_was_measured(run):
    with run:
        run.log({"step": 1, "loss": 1.0})
        run.log({"step": 2, "event": "epoch", "test_accuracy": 50.0})
    assert [run.measured(step) for step in (0, 1, 2, 3)] == [False, False, True, False]


def test_what_a_kill_leaves_behind_is_removed_and_does_not_count(tmp_path):
    path = tmp_path / "a"
    path.mkdir()
    left = path / ".config.json.x1y2z3_4.part"
    left.write_text("{")
    (path / lock.NAME).write_text("")
    with RunDir(path, resume=False) as run:
        run.begin(IDENTITY, 0, silent)
    assert not left.exists()


def test_two_processes_do_not_share_a_run(run):
    with RunDir(run.path, resume=True), pytest.raises(TrainingError, match="is in use by process"):
        RunDir(run.path, resume=True).__enter__()
    with RunDir(run.path, resume=True):
        pass


def test_of_two_that_begin_at_once_one_is_refused(tmp_path):
    with RunDir(tmp_path / "a", resume=False) as first, RunDir(tmp_path / "a", resume=False) as second:
        first.begin(IDENTITY, 0, silent)
        with pytest.raises(TrainingError, match="is in use by process"):
            second.begin(IDENTITY, 0, silent)
    with RunDir(tmp_path / "b", resume=False) as second:
        with RunDir(tmp_path / "b", resume=False) as first:
            first.begin(IDENTITY, 0, silent)
        with pytest.raises(TrainingError, match="is not empty"):
            second.begin(IDENTITY, 0, silent)


def test_tensorboard_goes_into_a_folder_of_its_own(tmp_path):
    for resume in (False, True):
        with RunDir(tmp_path / "a", resume=resume, tensorboard=True) as run:
            run.begin(IDENTITY, 3 if resume else 0, silent)
            run.log({"step": 4 if resume else 3, "loss": 1.0})
    assert len(list((tmp_path / "a" / "tensorboard").iterdir())) == 2
    assert [record["step"] for record in run.journal.records()] == [3, 4]


def test_the_curves_of_a_finished_run_leave_nothing_beside_them(run):
    with run:
        run.log({"step": 1, "epoch": 1.0, "loss": 1.0})
    (run.path / ".curves.png.a1b2c3d4.part").write_bytes(b"half")  # as after a kill
    again = RunDir(run.path, resume=True)
    again.draw()
    assert (run.path / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in run.path.iterdir()) == [
        *(".lock", "config.json", "curves.png", "metrics.jsonl"),
    ]
    with lock.hold(run.path), pytest.raises(TrainingError, match="is in use"):
        again.draw()
