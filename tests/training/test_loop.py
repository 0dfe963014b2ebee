"""Tests of onnxcomp.training.loop."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from onnxcomp import model as models
from onnxcomp.data import ImageSet
from onnxcomp.errors import CheckpointError, DataError, TrainingError
from onnxcomp.model import Form, Preprocessing
from onnxcomp.training import engine as engines
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.groups import Groups
from onnxcomp.training.loop import train
from onnxcomp.training.progress import Silent
from tests import zoo
from tests.training.fake import IMAGES, PRUNE, colours, fake, linear

BATCH = 8
PER_EPOCH = IMAGES // BATCH
CONFIG = TrainConfig(3, batch_size=BATCH, lr=0.05, threads=1, checkpoint_every=5, log_every=4)
STEPS = 3 * PER_EPOCH


class Killed(BaseException):
    pass


def weights(model):
    return {name: constant.values.tobytes() for name, constant in model.constants().items()}


def lines(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def without_speed(records):
    """Everything else does not depend on interruptions, to the last bit."""
    return [{key: value for key, value in r.items() if key != "images_per_second"} for r in records]


def killed_at(step):
    def disturb(count, engine):
        if count == step:
            raise Killed

    return fake(disturb)


class Noted(Silent):
    def __init__(self):
        self.begun, self.updates, self.notes = [], [], []

    def begin(self, done, total, what="step"):
        self.begun.append((done, total))

    def update(self, done, values):
        self.updates.append((done, dict(values)))

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize("passes", ["", PRUNE, f"{PRUNE},qat", "qat"])
def test_a_network_learns_and_keeps_its_form(tmp_path, passes):
    model = linear(passes)
    before = weights(model)
    trained = train(model, colours(), CONFIG, tmp_path / "a")
    assert trained.form is model.form is (Form.COMPRESSION if passes else Form.INFERENCE)
    assert [t.name for t in trained.graph.outputs] == [t.name for t in model.graph.outputs]
    assert weights(model) == before
    assert trained.recipe == model.recipe
    accuracies = [line["test_accuracy"] for line in lines(tmp_path / "a") if "event" in line]
    # One channel is brighter by more than a deviation in each of 16 pixels: nearly all are right.
    assert accuracies[-1] > 95
    if PRUNE in passes:
        assert np.count_nonzero(trained.constants()["weight"].values == 0) >= 72


def test_metrics_say_what_happened(tmp_path):
    train(linear(PRUNE), colours(), CONFIG, tmp_path / "a", evaluate=lambda model: 12.5, build=fake())
    found = lines(tmp_path / "a")
    steps = [line for line in found if "event" not in line]
    epochs = [line for line in found if "event" in line]
    assert [line["step"] for line in steps] == list(range(4, STEPS + 1, 4))
    expected = {"step", "epoch", "lr", "loss", "loss/task", "gradient_norm", "accuracy", "sparsity"}
    expected.add("images_per_second")
    assert all(set(line) == expected for line in steps)
    assert steps[0]["epoch"] == 0.5
    assert steps[-1]["sparsity"] == 0.5
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert epochs == [
        {"event": "epoch", "step": n * PER_EPOCH, "epoch": n, "test_accuracy": 12.5} for n in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("epochs", "every", "at"), [(2, 0, [16]), (2.5, 1, [8, 16, 20]), (4, 2, [16, 32]), (0.25, 1, [2])]
)
def test_the_end_is_always_evaluated(tmp_path, epochs, every, at):
    config = TrainConfig(epochs, batch_size=BATCH, threads=1, evaluate_every=every)
    train(linear(), colours(), config, tmp_path / "a", evaluate=lambda model: 0.0, build=fake())
    assert [line["step"] for line in lines(tmp_path / "a") if "event" in line] == at


def test_an_evaluation_sees_the_current_weights(tmp_path):
    seen = []

    def evaluate(model):
        seen.append(model.constants()["weight"].values.copy())
        return 0.0

    trained = train(linear(), colours(), CONFIG, tmp_path / "a", evaluate=evaluate, build=fake())
    assert len(seen) == 3
    assert not np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[2], trained.constants()["weight"].values)


EVERYTHING = {
    "schedule": "onecycle",
    "ema": 0.9,
    "clip": 0.5,
    "label_smoothing": 0.1,
    "accumulate": 2,
    "augment": "crop,flip,randaugment,cutout{size=2}",
    "workers": 2,
    "groups": Groups(lr_scale=(("bias", 0.5),), no_decay=("weight",)),
}


@pytest.mark.parametrize("options", [{}, {"optimizer": "adamw"}, {"optimizer": "adamw", **EVERYTHING}])
@pytest.mark.parametrize("moments", [(3,), (7,), (13, 1), (5, 5, 5), (24,), (20, 4)])
def test_interrupted_runs_end_with_the_same_weights(tmp_path, moments, options):
    config = replace(CONFIG, batch_size=BATCH // options.get("accumulate", 1), **options)

    def run(name, **options):
        return train(
            linear(f"{PRUNE},qat"), colours(), config, tmp_path / name, evaluate=lambda m: 1.0, **options
        )

    whole = run("whole", build=fake())
    for index, moment in enumerate(moments):
        with pytest.raises(Killed):
            run("cut", resume=index > 0, build=killed_at(moment))
    assert weights(run("cut", resume=True, build=fake())) == weights(whole)
    assert without_speed(lines(tmp_path / "cut")) == without_speed(lines(tmp_path / "whole"))


def test_a_finished_run_gives_its_result_at_once(tmp_path):
    progress = Noted()
    first = train(linear(PRUNE), colours(), CONFIG, tmp_path / "a", build=fake())
    again = train(
        linear(PRUNE), colours(), CONFIG, tmp_path / "a", resume=True, progress=progress, build=killed_at(1)
    )
    assert weights(again) == weights(first)
    assert progress.notes == [f"{tmp_path / 'a'}: the run is finished"]
    assert progress.begun == []


def test_resume_with_nothing_to_resume_starts_and_says_so(tmp_path):
    progress = Noted()
    train(linear(), colours(), CONFIG, tmp_path / "a", resume=True, progress=progress, build=fake())
    assert progress.notes[0] == f"{tmp_path / 'a'}: nothing to resume, the run starts from its beginning"
    assert progress.begun == [(0, STEPS)]
    assert [done for done, _ in progress.updates] == list(range(1, STEPS + 1))
    assert progress.notes[-1].startswith("epoch 3: test accuracy ")


def test_the_progress_of_a_resumed_run_starts_where_the_checkpoint_is(tmp_path):
    with pytest.raises(Killed):
        train(linear(), colours(), CONFIG, tmp_path / "a", build=killed_at(13))
    progress = Noted()
    train(linear(), colours(), CONFIG, tmp_path / "a", resume=True, progress=progress, build=fake())
    assert progress.begun == [(10, STEPS)]


def test_another_model_data_or_setting_is_not_resumed(tmp_path):
    train(linear(), colours(), CONFIG, tmp_path / "a", build=fake())

    def resume(model, data, config):
        return train(model, data, config, tmp_path / "a", resume=True, build=fake())

    with pytest.raises(CheckpointError, match="belongs to another model"):
        resume(linear(PRUNE), colours(), CONFIG)
    with pytest.raises(CheckpointError, match=r"belongs to a run with data colours \(64 images, \w+\), not"):
        resume(linear(), colours(count=65), CONFIG)
    with pytest.raises(CheckpointError, match=r"belongs to a run with lr 0\.05, not 0\.005"):
        resume(linear(), colours(), TrainConfig(3, batch_size=BATCH, threads=1))


def test_a_run_directory_in_use_is_refused_without_resume(tmp_path):
    train(linear(), colours(), CONFIG, tmp_path / "a", build=fake())
    with pytest.raises(TrainingError, match="is not empty; add --resume"):
        train(linear(), colours(), CONFIG, tmp_path / "a", build=fake())


def test_a_deployable_network_is_refused(tmp_path):
    model = linear()
    model.form = Form.DEPLOYABLE
    with pytest.raises(TrainingError, match="is finalised and cannot be trained"):
        train(model, colours(), CONFIG, tmp_path / "a", build=fake())
    assert not (tmp_path / "a").exists()


def test_another_number_of_classes_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match="data colours: has 4 classes, the network 3"):
        train(linear(), colours(("a", "b", "c", "d")), CONFIG, tmp_path / "a", build=fake())
    assert not (tmp_path / "a").exists()


class OneBroken:
    """Images of which the last one cannot be read."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def image(self, index):
        if index == len(self) - 1:
            raise DataError("a broken image", where="last.jpg")
        return self.source.image(index)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_broken_image_is_refused_before_anything_is_written(tmp_path, part):
    data = colours()
    images = getattr(data, part)
    broken = ImageSet(OneBroken(images.source), images.labels, images.classes)
    data = replace(data, train=broken) if part == "train" else replace(data, test=broken)
    with pytest.raises(DataError, match=r"last\.jpg: a broken image"):
        train(linear(), data, CONFIG, tmp_path / "run", build=fake())
    assert not (tmp_path / "run").exists()


def test_the_result_says_how_its_images_are_normalised_and_what_its_classes_are(tmp_path):
    trained = train(linear(), colours(), CONFIG, tmp_path / "a", build=fake())
    assert trained.preprocessing == Preprocessing((80.0,) * 3, (50.0,) * 3)
    assert trained.classes == ("red", "green", "blue")


def test_the_real_engine_trains_the_statistics_of_batch_normalization(tmp_path):
    model = models.from_proto(zoo.densenet(size=4, classes=3, layers=(1,), growth=4))
    trained = train(model, colours(), CONFIG, tmp_path / "a")
    before, after = model.constants(), trained.constants()
    moved = {name for name in before if before[name].values.tobytes() != after[name].values.tobytes()}
    assert moved >= {name for name in before if "running" in name}
    assert moved >= {name for name in before if name.endswith(".weight")}


@pytest.mark.parametrize("scales", ["frozen", "learned"])
@pytest.mark.parametrize("kill", [6, 18])
def test_a_run_killed_in_one_phase_and_resumed_is_the_same_bit_for_bit(tmp_path, scales, kill):
    """With ONNX Runtime's engine: a phase begins at steps 8 and 16 of 24, a checkpoint at every fifth."""
    model = linear(f"qat{{scales={scales} begin_weights=0.3333 begin_activations=0.6667}}")
    config = replace(CONFIG, ema=0.9)
    whole = train(model, colours(), config, tmp_path / "whole")
    count = 0

    def build(part, **options):
        engine = engines.build(part, **options)
        step = engine.step

        def counted(*arguments):
            nonlocal count
            count += 1
            if count == kill:
                raise Killed
            return step(*arguments)

        engine.step = counted  # type: ignore[method-assign]
        return engine

    with pytest.raises(Killed):
        train(model, colours(), config, tmp_path / "killed", build=build)
    resumed = train(model, colours(), config, tmp_path / "killed", resume=True)
    assert weights(resumed) == weights(whole)
    records = without_speed(lines(tmp_path / "killed"))
    assert [r for r in records if "loss" in r] == [
        r for r in without_speed(lines(tmp_path / "whole")) if "loss" in r
    ]
