"""What goes wrong during a training, through the whole loop: never a lost run."""

from __future__ import annotations

import errno
import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from onnxcomp import files
from onnxcomp.errors import CheckpointError, OnnxcompError, TrainingError
from onnxcomp.interrupts import Interrupted
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.loop import train
from onnxcomp.training.progress import Silent
from tests.training.fake import IMAGES, PRUNE, colours, fake, linear

BATCH = 8
PER_EPOCH = IMAGES // BATCH
CONFIG = TrainConfig(3, batch_size=BATCH, lr=0.05, threads=1, checkpoint_every=5, log_every=4)
STEPS = 3 * PER_EPOCH
PASSES = f"{PRUNE},qat"


@pytest.fixture
def run(tmp_path):
    """Trains in ``tmp_path / name``; gives the weights and the notes."""

    def call(name="cut", disturb=None, config=CONFIG, **options):
        options.setdefault("evaluate", lambda model: 1.0)
        noted = Noted()
        model = linear(options.pop("passes", PASSES))
        given = {"build": fake(disturb), "progress": noted, **options}
        trained = train(model, colours(), config, tmp_path / name, **given)
        return {n: c.values.tobytes() for n, c in trained.constants().items()}, noted.notes

    return call


class Noted(Silent):
    def __init__(self):
        self.notes = []

    def begin(self, done, total, what="step"):
        self.notes.append(f"begin {done}")

    def update(self, done, values):
        pass

    def note(self, text):
        if not text.startswith("epoch"):
            self.notes.append(text)


def checkpoints(folder):
    return sorted(int(path.stem[5:]) for path in (folder / "checkpoints").glob("*.safetensors"))


def lines(folder):
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: r[key] for key in r if key != "images_per_second"} for r in records]


def at(step, what):
    return lambda count, engine: what(engine) if count == step else None


def no_parts(folder):
    return not [path for path in folder.rglob("*") if files.is_part(path.name)]


@pytest.mark.parametrize("keep", [1, 3])
def test_the_last_checkpoints_are_kept(tmp_path, run, keep):
    run(config=replace(CONFIG, keep=keep))
    assert checkpoints(tmp_path / "cut") == [16, 20, 24][-keep:]


@pytest.mark.parametrize("damaged", [1, 2])
def test_damaged_checkpoints_cost_only_their_steps(tmp_path, run, damaged):
    whole, _ = run("whole")
    config = replace(CONFIG, keep=3)
    with pytest.raises(ZeroDivisionError):
        run(disturb=at(18, lambda engine: 1 / 0), config=config)
    folder = tmp_path / "cut"
    assert checkpoints(folder) == [10, 15, 16]
    for step in (16, 15)[:damaged]:
        path = folder / "checkpoints" / f"step-{step:08d}.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
    weights, notes = run(resume=True, config=config)
    assert weights == whole
    assert notes[-1] == f"begin {(15, 10)[damaged - 1]}"
    assert len(notes) == damaged + 1
    assert all("is a damaged checkpoint" in note and "\n" not in note for note in notes[:-1])
    assert lines(folder) == lines(tmp_path / "whole")
    assert checkpoints(folder) == [16, 20, 24]


def test_where_all_are_damaged_nothing_is_written_over(tmp_path, run):
    run()
    folder = tmp_path / "cut"
    for path in (folder / "checkpoints").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match="none of its 2 checkpoints can be read"):
        run(resume=True)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_damaged_metrics_cost_no_run(tmp_path, run):
    whole, _ = run("whole")
    with pytest.raises(ZeroDivisionError):
        run(disturb=at(18, lambda engine: 1 / 0))
    path = tmp_path / "cut" / "metrics.jsonl"
    path.write_text("\0" + path.read_text())
    weights, notes = run(resume=True)
    assert weights == whole
    assert notes == [f"{path}: 1 damaged line left out", "begin 16"]


def nan_loss(engine):
    engine.loss = float("nan")


def nan_gradient(engine):
    engine.gradients["weight"][0, 0] = np.nan


@pytest.mark.parametrize("fault", [nan_loss, nan_gradient])
def test_a_diverging_run_keeps_its_last_checkpoint_and_says_how_to_go_on(tmp_path, run, fault):
    folder = tmp_path / "cut"
    message = (
        r"is n\w+( finite)? at step 8 \(learning rate 0\.0\d+, loss/task .*\);"
        rf" lower --lr \(it is 0\.05\) in a new run that begins --from {folder}, which is kept at step 5"
    )
    with pytest.raises(TrainingError, match=message):
        run(disturb=at(8, fault))
    assert checkpoints(folder) == [5]
    # As it says: another run with the weights of step 5 and another learning rate.
    lower = replace(CONFIG, lr=0.01)
    seen = []
    weights, notes = run(
        "lower",
        config=lower,
        weights_from=folder,
        disturb=at(1, lambda e: seen.append(e.parameters["weight"])),
    )
    assert notes[0] == f"beginning from {folder} at its step 5"
    assert np.count_nonzero(seen[0] == 0) > 0  # the masks came along
    # It is resumed with the same options, and only with those.
    again, notes = run("lower", config=lower, weights_from=folder, resume=True)
    assert again == weights
    with pytest.raises(CheckpointError, match="belongs to another model"):
        run("lower", config=lower, resume=True)
    with pytest.raises(CheckpointError, match=r"lr 0\.05, not 0\.01; .* begin a new run --from"):
        run(config=lower, resume=True)


def test_a_run_that_diverges_at_once_says_so(tmp_path, run):
    with pytest.raises(
        TrainingError, match=r"nan at step 1 .*; lower --lr \(it is 0\.05\) or check the weights"
    ):
        run(disturb=at(1, nan_loss))


def test_another_network_or_folder_is_nothing_to_begin_from(tmp_path, run):
    run("a", passes="qat")
    with pytest.raises(CheckpointError, match=r"a: its checkpoint has a tensor .* that the network has not"):
        run("b", passes="", weights_from=tmp_path / "a")
    with pytest.raises(
        CheckpointError, match="none: holds no checkpoint to begin from; choose another --from"
    ):
        run("b", weights_from=tmp_path / "none")
    assert not (tmp_path / "b").exists()


def send(number):
    return lambda engine: os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("step", [1, 7, 8, STEPS])
def test_a_signal_saves_after_the_step(tmp_path, run, number, code, step):
    whole, _ = run("whole")
    with pytest.raises(Interrupted) as caught:
        run(disturb=at(step, send(number)))
    assert caught.value.code == code
    assert caught.value.text == f"interrupted; {tmp_path / 'cut'} is kept at step {step} of {STEPS}"
    assert checkpoints(tmp_path / "cut")[-1] == step
    weights, notes = run(resume=True)
    assert weights == whole
    assert notes == [f"begin {step}"]
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_a_second_signal_stops_at_once_and_costs_the_steps_since_the_checkpoint(tmp_path, run):
    def twice(engine):
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="is kept at step 5 of 24"):
        run(disturb=at(7, twice))
    assert run(resume=True)[0] == run("whole")[0]


@pytest.mark.parametrize("measurement", [1, 3])
def test_a_signal_during_a_measurement_stops_at_once_and_it_is_made_up_for(tmp_path, run, measurement):
    whole, _ = run("whole")
    calls = []

    def evaluate(model):
        calls.append(model)
        if len(calls) == measurement:
            os.kill(os.getpid(), signal.SIGTERM)
            raise AssertionError("not stopped")
        return 1.0

    with pytest.raises(Interrupted, match=f"is kept at step {measurement * PER_EPOCH} of"):
        run(evaluate=evaluate)
    assert run(resume=True)[0] == whole
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_a_signal_while_building_leaves_a_run_that_starts(tmp_path, run):
    def build(*args, **options):
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="is kept at step 0 of 24"):
        run(build=build)
    assert not (tmp_path / "cut").exists()
    with pytest.raises(ZeroDivisionError):
        run(disturb=at(7, lambda engine: 1 / 0))
    with pytest.raises(Interrupted, match="is kept at step 5 of 24"):
        run(build=build, resume=True)
    assert run(resume=True)[0] == run("whole")[0]


def test_python_s_own_handlers_are_back_after_a_run(run):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    run()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("write", [3, 9, 12])
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(tmp_path, run, monkeypatch, write):
    """The ``write``-th sync fails, which is where a file that does not fit shows last."""
    whole, _ = run("whole")
    real, left = os.fsync, [write]

    def full(handle):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OnnxcompError, match=r"cannot be written \(No space left on device\); make room"):
            run()
    assert no_parts(tmp_path)
    weights, _ = run(resume=(tmp_path / "cut" / "config.json").exists())
    assert weights == whole
    assert lines(tmp_path / "cut") == lines(tmp_path / "whole")


def test_two_processes_do_not_train_in_one_folder(tmp_path, run):
    def second(engine):
        with pytest.raises(TrainingError, match=r"is in use by process \d+"):
            run(resume=True)

    assert run(disturb=at(7, second))[0] == run("whole")[0]


def test_averaged_weights_are_what_a_finished_run_gives_again(tmp_path, run):
    config = replace(CONFIG, ema=0.9)
    first, _ = run(config=config)
    again, notes = run(config=config, resume=True)
    assert again == first != run("plain")[0]
    assert notes == [f"{tmp_path / 'cut'}: the run is finished"]
