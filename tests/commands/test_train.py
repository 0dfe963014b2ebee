"""Tests of onnxcomp.commands.train."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest

from onnxcomp import cli, pipeline, recipe
from onnxcomp import model as models
from onnxcomp.data import open_data
from onnxcomp.model import Form, Preprocessing
from tests import zoo
from tests.project import ROOT
from tests.run import Observed

PASSES = "prune{sparsity=0.6 frequency=2 keep_first=false keep_last=false},qat,distill"


def write_network(path, passes=""):
    """A small network for 8x8 images of ten classes."""
    model = models.from_proto(zoo.densenet(size=8, layers=(1, 1), growth=4))
    model.preprocessing = Preprocessing((80.0,) * 3, (90.0,) * 3)
    if passes:
        model = pipeline.apply(model, recipe.parse(passes), calibration=Observed())
    models.save(model, path)
    return path


@pytest.fixture
def run(capsys):
    """Runs ``onnxcomp train`` and gives exit code, stdout and stderr."""

    def call(*args):
        with pytest.raises(SystemExit) as stop:
            cli.main(["train", *map(str, args)])
        return stop.value.code, *capsys.readouterr()

    return call


def arguments(folder, network, **options):
    given = {"data": "digits", "epochs": 1, "threads": 1, "run-dir": folder / "run", **options}
    flags = [text for name, value in given.items() for text in (f"--{name}", str(value))]
    return [network, "-o", folder / "t.onnx", *flags]


def test_trains_the_compression_form(run, tmp_path):
    network = write_network(tmp_path / "c.onnx", PASSES)
    code, out, err = run(*arguments(tmp_path, network), "--json")
    assert code == 0
    result = json.loads(out)
    assert result["steps"] == 44
    assert result["sparsity"] == pytest.approx(0.6, abs=1e-3)
    assert [line["epoch"] for line in result["epochs"]] == [1.0]
    trained = models.load(tmp_path / "t.onnx")
    onnx.checker.check_model(models.to_proto(trained), full_check=True)
    assert trained.form is Form.COMPRESSION
    assert trained.classes == tuple("0123456789")
    constants = trained.constants()
    masks = {name: constant for name, constant in constants.items() if name.endswith(".mask")}
    assert masks
    for name, mask in masks.items():
        assert (constants[name.removesuffix(".mask")].values[mask.values == 0] == 0).all()
    # Ten lines of progress and one for the epoch, none of them on stdout.
    assert len(err.splitlines()) == 11
    assert "soft_targets" in err
    assert "boundary" in err


def test_fine_tunes_a_plain_network(run, tmp_path):
    network = write_network(tmp_path / "m.onnx")
    code, out, _ = run(*arguments(tmp_path, network, epochs=8, optimizer="adamw", lr=0.01), "--no-augment")
    assert code == 0
    assert out.startswith("test accuracy ")
    trained = models.load(tmp_path / "t.onnx")
    assert trained.form is Form.INFERENCE
    assert [t.name for t in trained.graph.inputs] == ["input"]
    # Chance is 10 %.
    assert float(out.split()[2]) > 80


def test_the_run_directory_is_named_after_the_output(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    network = write_network(tmp_path / "m.onnx")
    command = [network, "-o", "t.onnx", "--data", "digits", "--epochs", "0.1", "--threads", "1"]
    assert run(*command)[0] == 0
    assert sorted(path.name for path in (tmp_path / "runs" / "t").iterdir()) == [
        "checkpoint.safetensors",
        "config.json",
        "metrics.jsonl",
    ]
    code, _, err = run(*command)
    assert (code, err) == (2, "Error: runs/t: is not empty; add --resume or choose another --run-dir\n")
    code, _, err = run(*command, "--resume")
    assert (code, err) == (0, "runs/t: the run is finished\n")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"epochs": 0}, "Error: --epochs: 0.0 is out of range; give a number above 0"),
        ({"batch-size": 0}, "Error: --batch-size: 0 is out of range; give 1 or more"),
        ({"batch-size": 5000}, "Error: batch size: a batch of 5000 cannot be made of 1437 training images;"),
        ({"data": "digit"}, "Error: digit: there is no such data set, file or folder; did you mean digits?"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(run, tmp_path, options, line):
    network = write_network(tmp_path / "m.onnx")
    code, out, err = run(*arguments(tmp_path, network, **options))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(line)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_a_network_of_other_classes_is_one_line(run, tmp_path):
    models.save(models.from_proto(zoo.mlp(size=8, classes=7)), tmp_path / "m.onnx")
    code, _, err = run(*arguments(tmp_path, tmp_path / "m.onnx"))
    assert code == 2
    assert err.startswith("Error: data digits: has 10 classes, the network 7;")
    assert err.count("\n") == 1


def test_a_checkpoint_of_another_model_is_one_line(run, tmp_path):
    assert run(*arguments(tmp_path, write_network(tmp_path / "m.onnx"), epochs=0.1))[0] == 0
    other = write_network(tmp_path / "c.onnx", "prune")
    code, _, err = run(*arguments(tmp_path, other, epochs=0.1), "--resume")
    assert code == 2
    assert err.startswith(f"Error: {tmp_path / 'run' / 'config.json'}: belongs to another model;")
    assert err.count("\n") == 1


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The digits as an .npz: a process that reads it need not import scikit-learn."""
    data = open_data("digits")
    path = tmp_path_factory.mktemp("data") / "digits.npz"
    train, test = (images.load(np.arange(len(images)), (8, 8)) for images in (data.train, data.test))
    np.savez(path, x_train=train, y_train=data.train.labels, x_test=test, y_test=data.test.labels)
    return path


def start(folder, network, archive, optimizer, *flags):
    """The command in its own process, with a checkpoint every three steps."""
    options = {"data": archive, "epochs": 3, "optimizer": optimizer, "checkpoint-every": 3}
    command = [sys.executable, "-m", "onnxcomp.cli", "train", *arguments(folder, network, **options), *flags]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen([str(word) for word in command], cwd=ROOT, stdout=log, stderr=log)


def kill_at_random(process, checkpoint, least, chance):
    """Kill after a random number of new checkpoints and a random moment more; False if it ended first."""
    wanted = chance.integers(least, 10)
    delay = chance.uniform(0, 0.02 if wanted else 0.5)
    last = written(checkpoint)
    while wanted and process.poll() is None:
        now = written(checkpoint)
        wanted, last = wanted - (now != last), now
        time.sleep(0.0005)
    time.sleep(delay)
    alive = process.poll() is None
    process.kill()
    process.wait()
    return alive


def written(path):
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.mark.parametrize(("optimizer", "passes"), [("sgd", PASSES), ("adamw", "prune")])
def test_a_killed_run_ends_with_the_same_weights_bit_for_bit(tmp_path, archive, optimizer, passes):
    seed = np.random.SeedSequence().entropy
    chance = np.random.default_rng(seed)
    network = write_network(tmp_path / "c.onnx", passes)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    assert start(whole, network, archive, optimizer).wait() == 0, (whole / "log").read_text()
    kills = [
        kill_at_random(
            start(cut, network, archive, optimizer, "--resume"),
            cut / "run" / "checkpoint.safetensors",
            least,
            chance,
        )
        for least in (1, 0, 1)
    ]
    assert any(kills), f"seed {seed}: {(cut / 'log').read_text()}"
    assert start(cut, network, archive, optimizer, "--resume").wait() == 0, (cut / "log").read_text()
    assert (cut / "t.onnx").read_bytes() == (whole / "t.onnx").read_bytes(), f"seed {seed}"
    assert not list((cut / "run").glob(".*"))
    first, second = lines(whole / "run"), lines(cut / "run")
    assert [line for line in first if "event" in line] == [line for line in second if "event" in line]
    assert [line["step"] for line in first] == [line["step"] for line in second]
    before, after = models.load(network).constants(), models.load(whole / "t.onnx").constants()
    assert any(not np.array_equal(before[name].values, after[name].values) for name in before)


def lines(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
