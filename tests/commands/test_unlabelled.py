"""Distillation on images without labels, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcomp import model as models
from onnxcomp.data import open_data
from onnxcomp.training import engine as engines
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.loop import train
from tests import zoo
from tests.commands.call import call


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    images = {f"x_{part}": rng.integers(0, 256, (32, 8, 8, 3), np.uint8) for part in ("train", "test")}
    path = tmp_path / "images.npz"
    np.savez(path, y_test=np.arange(32) % 10, **images)  # type: ignore[arg-type]
    return path


@pytest.fixture
def networks(tmp_path: Path) -> tuple[Path, Path]:
    paths = tmp_path / "student.onnx", tmp_path / "teacher.onnx"
    for path, proto in zip(paths, (zoo.densenet(size=8), zoo.resnet(size=8)), strict=True):
        onnx.save(proto, path)
    return paths


TRAIN = ("--epochs", 1, "--batch-size", 8, "--threads", 1)


def test_the_whole_road(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path, networks: tuple[Path, Path]
) -> None:
    student, teacher = networks
    compressed, trained, deployed = (tmp_path / f"{name}.onnx" for name in "ctd")
    words = ("apply", "qat,distill", student, "-o", compressed, "--data", data, "--teacher", teacher)
    code, _, err = call(capsys, *words, "--set", "distill.labels=false", "--set", "distill.decoupled=1")
    assert code == 0, err
    run = ("--data", data, "--run-dir", tmp_path / "run", *TRAIN)
    code, _, err = call(capsys, "train", compressed, "-o", trained, *run)
    assert code == 0, err
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert not any("accuracy" in line or "loss/task" in line for line in lines)
    assert any("test_accuracy" in line for line in lines)
    before, after = models.load(student).constants(), models.load(trained).constants()
    assert not np.array_equal(before["classifier.weight"].values, after["classifier.weight"].values)
    code, _, err = call(capsys, "finalize", trained, "-o", deployed, "--target", "xavier")
    assert code == 0, err
    assert [entry.name for entry in onnx.load(deployed).graph.input] == ["input"]


class KilledError(Exception):
    pass


def killed_at(count: int) -> Any:
    """Builds engines that end the run at that micro-batch."""
    done = 0

    def build(part: models.Model, **options: Any) -> engines.Engine:
        engine = engines.build(part, **options)
        step = engine.step

        def counted(*arguments: Any) -> engines.StepResult:
            nonlocal done
            done += 1
            if done == count:
                raise KilledError
            return step(*arguments)

        engine.step = counted  # type: ignore[method-assign, assignment]
        return engine

    return build


def test_a_run_that_was_killed_ends_like_one_that_was_not(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path, networks: tuple[Path, Path]
) -> None:
    pruned, both = tmp_path / "p.onnx", tmp_path / "b.onnx"
    assert call(capsys, "apply", "prune", networks[0], "-o", pruned)[0] == 0
    assert call(capsys, "apply", "distill{labels=false}", pruned, "-o", both)[0] == 0
    model, images = models.load(both), open_data(str(data))
    config = TrainConfig(
        epochs=2, batch_size=4, accumulate=2, threads=1, workers=0, checkpoint_every=3, log_every=4,
        teacher_cache="off",
    )  # fmt: skip
    whole = train(model, images, config, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(model, images, config, tmp_path / "cut", build=killed_at(9))
    resumed = train(model, images, config, tmp_path / "cut", resume=True)
    ours, theirs = resumed.constants(), whole.constants()
    assert all(np.array_equal(ours[name].values, theirs[name].values) for name in theirs)
    assert not np.array_equal(ours["classifier.weight"].values, model.constants()["classifier.weight"].values)
    found = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("whole", "cut")
    ]
    for record in (*found[0], *found[1]):
        record.pop("images_per_second", None)
    assert found[0] == found[1]
    assert len(found[0]) == 4  # after steps 4 and 8, of training and of test images
    assert not any("accuracy" in record for record in found[0])


def test_what_trains_nothing_needs_no_labels(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path, networks: tuple[Path, Path]
) -> None:
    student, output = networks[0], tmp_path / "c.onnx"
    words = ("apply", "qat{float_layers=auto},distill{labels=false}", student, "-o", output, "--data", data)
    assert call(capsys, *words)[0] == 0
    assert call(capsys, "inspect", output)[0] == 0
    code, out, _ = call(capsys, "evaluate", output, "--data", data, "--limit", 8, "--threads", 1, "--json")
    assert (code, json.loads(out)["accuracy"]["count"]) == (0, 8)
    assert call(capsys, "validate", student, student, "--data", data, "--limit", 8)[0] == 0


def test_sensitivity_can_do_with_test_images(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path, networks: tuple[Path, Path]
) -> None:
    words = ("sensitivity", networks[0], "--data", data, "--images", 4, "--threads", 1, "--pass", "qat")
    code, _, err = call(capsys, *words, "--cache", tmp_path / "cache")
    assert code == 2
    assert "its training images have no labels, which sensitivity needs; give --split test, or arrange" in err
    assert call(capsys, *words, "--cache", tmp_path / "cache", "--split", "test")[0] == 0


def test_there_is_no_label_to_smooth(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path, networks: tuple[Path, Path]
) -> None:
    given = tmp_path / "c.onnx"
    assert call(capsys, "apply", "distill{labels=false}", networks[0], "-o", given)[0] == 0
    words = ("train", given, "-o", tmp_path / "t.onnx", "--data", data, "--label-smoothing", 0.1, *TRAIN)
    code, _, err = call(capsys, *words)
    assert code == 2
    assert "--label-smoothing: the model has no task loss; leave it out: the model learns without" in err


REMEDY = "apply distill with --set distill.labels=false, or arrange them in class folders, or as y_train"


@pytest.mark.parametrize("passes", ["", "prune", "distill"])
def test_a_loss_that_reads_labels_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path, networks: tuple[Path, Path], passes: str
) -> None:
    given = networks[0]
    if passes:
        given = tmp_path / "c.onnx"
        assert call(capsys, "apply", passes, networks[0], "-o", given)[0] == 0
    code, _, err = call(capsys, "train", given, "-o", tmp_path / "t.onnx", "--data", data, *TRAIN)
    assert code == 2
    assert f"its training images have no labels, which a loss of this training needs; {REMEDY}\n" in err
    assert not (tmp_path / "t.onnx").exists()


@pytest.mark.parametrize(("passes", "fine"), [("prune", False), ("distill{labels=false}", True)])
def test_compress(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    data: Path,
    networks: tuple[Path, Path],
    passes: str,
    fine: bool,
) -> None:
    folder = tmp_path / "run"
    words = ("compress", passes, networks[0], "--data", data, "--target", "ort-cpu", "--run-dir", folder)
    code, _, err = call(capsys, *words, *TRAIN)
    assert (code == 0) == fine, err
    assert folder.exists() == fine
    assert ("have no labels" in err) == (not fine)


def test_criteria_that_differentiate_the_loss(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, data: Path, networks: tuple[Path, Path]
) -> None:
    output = tmp_path / "c.onnx"
    code, _, err = call(
        capsys,
        "apply",
        "prune{criterion=taylor schedule=one-shot}",
        networks[0],
        "-o",
        output,
        "--data",
        data,
    )
    assert code == 2
    assert (
        "its training images have no labels, which the gradient of the loss needs; choose a criterion" in err
    )
    assert not output.exists()
