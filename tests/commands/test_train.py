"""Tests of onnxcomp.commands.train."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import onnx
import pytest

from onnxcomp import cli, pipeline, recipe
from onnxcomp import model as models
from onnxcomp.data import open_data
from onnxcomp.errors import OnnxcompError
from onnxcomp.files import is_part
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
    # What becomes of the teacher, ten lines of progress and one for the epoch, none of them on stdout.
    assert len(err.splitlines()) == 12
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
        ".lock",
        "checkpoints",
        "config.json",
        "curves.png",
        "metrics.jsonl",
        "run.json",
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


EVERYTHING = (
    *("--schedule", "onecycle", "--ema", 0.9, "--clip", 1, "--label-smoothing", 0.1, "--accumulate", 2),
    *("--batch-size", 16, "--augment", "crop,flip,randaugment,cutout{size=2}", "--workers", 2, "--keep", 3),
)


def start(folder, network, archive, *flags, **options):
    """The command in its own process, with a checkpoint every three steps."""
    given = {"data": archive, "epochs": 3, "checkpoint-every": 3, **options}
    command = [sys.executable, "-m", "onnxcomp.cli", "train", *arguments(folder, network, **given), *flags]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen([str(word) for word in command], cwd=ROOT, stdout=log, stderr=log)


def steps_kept(folder):
    return sorted((folder / "run" / "checkpoints").glob("*.safetensors"))


def wait_for_checkpoints(process, folder, count):
    """Until ``count`` checkpoints were written, by one process; False if it ended first."""
    seen = set(steps_kept(folder))
    wanted = len(seen) + count
    while len(seen) < wanted and process.poll() is None:
        seen.update(steps_kept(folder))
        time.sleep(0.0005)
    return process.poll() is None


def kill_at_random(process, folder, least, chance):
    """Kill after a random number of new checkpoints and a random moment more; False if it ended first."""
    wanted = chance.integers(least, 10)
    wait_for_checkpoints(process, folder, wanted)
    time.sleep(chance.uniform(0, 0.02 if wanted else 0.5))
    alive = process.poll() is None
    process.kill()
    process.wait()
    return alive


@pytest.mark.parametrize(
    ("flags", "passes"), [((), PASSES), (("--optimizer", "adamw", *EVERYTHING), PASSES)], ids=["plain", "all"]
)
def test_a_killed_run_ends_with_the_same_weights_bit_for_bit(tmp_path, archive, flags, passes):
    seed = np.random.SeedSequence().entropy
    chance = np.random.default_rng(seed)
    network = write_network(tmp_path / "c.onnx", passes)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    assert start(whole, network, archive, *flags).wait() == 0, (whole / "log").read_text()
    kills = [
        kill_at_random(start(cut, network, archive, *flags, "--resume"), cut, least, chance)
        for least in (1, 0, 1)
    ]
    assert any(kills), f"seed {seed}: {(cut / 'log').read_text()}"
    assert start(cut, network, archive, *flags, "--resume").wait() == 0, (cut / "log").read_text()
    assert (cut / "t.onnx").read_bytes() == (whole / "t.onnx").read_bytes(), f"seed {seed}"
    assert not [path for path in cut.rglob("*") if is_part(path.name)]
    assert without_speed(lines(whole / "run")) == without_speed(lines(cut / "run"))
    before, after = models.load(network).constants(), models.load(whole / "t.onnx").constants()
    assert any(not np.array_equal(before[name].values, after[name].values) for name in before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_one_line_that_says_how_to_go_on(tmp_path, archive, number, code):
    network = write_network(tmp_path / "c.onnx", "prune")
    process = start(tmp_path, network, archive, epochs=50)
    assert wait_for_checkpoints(process, tmp_path, 2), (tmp_path / "log").read_text()
    process.send_signal(number)
    assert process.wait(60) == code
    *_, last = (tmp_path / "log").read_text().splitlines()
    match = re.fullmatch(r"Interrupted; (\S+) is kept at step (\d+) of 2200; continue with: (.*)", last)
    assert match, last
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert match[1] == str(tmp_path / "run")
    assert steps_kept(tmp_path)[-1].stem == f"step-{int(match[2]):08d}"
    words = shlex.split(match[3])
    assert words[:2] == ["onnxcomp", "train"]
    assert words[-1] == "--resume"
    go_on = subprocess.Popen([sys.executable, "-m", "onnxcomp.cli", *words[1:]], cwd=ROOT)
    assert wait_for_checkpoints(go_on, tmp_path, 1)
    go_on.kill()
    go_on.wait()
    assert int(steps_kept(tmp_path)[-1].stem[5:]) > int(match[2])


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 KiB; only root can make one."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(path)]
    if not hasattr(os, "geteuid") or os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("room", [0, 40_000, 90_000])
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(run, tmp_path, small_disk, room):
    network = write_network(tmp_path / "c.onnx", PASSES)
    whole = tmp_path / "whole"
    options = {"checkpoint-every": 3}
    assert run(*arguments(whole_folder(whole), network, **options))[0] == 0
    filler = small_disk / "filler"
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    filler.write_bytes(b"x" * (free - room - 4096))
    code, out, err = run(*arguments(small_disk, network, **options))
    assert (code, out) == (2, "")
    line = err.splitlines()[-1]
    assert re.match(
        r"Error: \S+: cannot be (written|locked|created) \(.*No space left on device.*\); ", line
    ), line
    assert "Traceback" not in err
    assert not [path for path in small_disk.rglob("*") if is_part(path.name)]
    filler.unlink()
    code, _, err = run(*arguments(small_disk, network, **options), "--resume")
    assert code == 0, err
    assert (small_disk / "t.onnx").read_bytes() == (whole / "t.onnx").read_bytes()


def whole_folder(path):
    path.mkdir()
    return path


@pytest.mark.parametrize("name", ["run", "run/metrics.jsonl", "run/../run/.lock"])
def test_the_result_is_not_written_over_the_run(run, tmp_path, name):
    network = write_network(tmp_path / "m.onnx")
    words = [
        tmp_path / name if word == tmp_path / "t.onnx" else word for word in arguments(tmp_path, network)
    ]
    (tmp_path / "run").mkdir()
    code, _, err = run(*words)
    assert code == 2
    assert "is the run's own; name another output" in err or "is a folder; name a file" in err
    assert list((tmp_path / "run").iterdir()) == []


def test_the_result_is_not_written_over_the_images(run, tmp_path):
    network = write_network(tmp_path / "m.onnx")
    data = tmp_path / "t.onnx"  # an archive, whatever it is called
    images, labels = np.zeros((4, 8, 8, 3), np.uint8), np.arange(4)
    with data.open("wb") as file:
        np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    code, _, err = run(*arguments(tmp_path, network, data=data))
    assert (code, err) == (2, f"Error: {data}: is the input too; name another output\n")


def test_lost_metrics_cost_no_result(run, tmp_path):
    network = write_network(tmp_path / "m.onnx")
    command = [*arguments(tmp_path, network, epochs=0.1), "--json"]
    code, out, _ = run(*command)
    metrics = tmp_path / "run/metrics.jsonl"
    whole = metrics.read_text()
    for left in ("", "x" + whole, whole.replace('"sparsity"', '"other"')):
        metrics.write_text(left)
        code, again, _ = run(*command, "--resume")
        assert code == 0
        assert {**json.loads(out), "sparsity": None} == {**json.loads(again), "sparsity": None}


def test_no_room_for_the_result_costs_no_run(run, tmp_path, monkeypatch):
    network = write_network(tmp_path / "m.onnx")
    with monkeypatch.context() as patch:

        def full(model, path):
            raise OnnxcompError("cannot be written (No space left on device)", where=str(path))

        patch.setattr(models, "save", full)
        code, _, err = run(*arguments(tmp_path, network, epochs=0.1))
        assert code == 2
        assert err.endswith(
            "t.onnx: cannot be written (No space left on device); "
            "the run itself is complete: make room, then --resume writes its result\n"
        )
    left = tmp_path / ".t.onnx.a1b2c3d4.part"  # as a kill would leave it
    left.write_bytes(b"half")
    code, _, err = run(*arguments(tmp_path, network, epochs=0.1), "--resume")
    assert (code, err) == (0, f"{tmp_path / 'run'}: the run is finished\n")
    assert (tmp_path / "t.onnx").exists()
    assert not left.exists()


def test_a_second_process_is_refused(run, tmp_path, archive):
    network = write_network(tmp_path / "m.onnx")
    process = start(tmp_path, network, archive, epochs=50)
    try:
        assert wait_for_checkpoints(process, tmp_path, 1)
        code, _, err = run(
            *arguments(tmp_path, network, data=archive, epochs=50, **{"checkpoint-every": 3}), "--resume"
        )
    finally:
        process.kill()
        process.wait()
    assert code == 2
    assert err.startswith(f"Error: {tmp_path / 'run'}: is in use by process {process.pid} on ")
    assert err.count("\n") == 1


def test_an_error_about_the_network_names_the_file(run, tmp_path):
    network = write_network(tmp_path / "c.onnx", "prune")
    model = models.load(network)
    model.form = Form.DEPLOYABLE
    models.save(model, tmp_path / "d.onnx")
    code, _, err = run(*arguments(tmp_path, tmp_path / "d.onnx"))
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"Error: {tmp_path / 'd.onnx'}: is finalised and cannot be trained; ")


def test_event_files_and_frozen_statistics(run, tmp_path):
    network = write_network(tmp_path / "m.onnx")
    code, *_ = run(*arguments(tmp_path, network, epochs=0.2), "--tensorboard", "--batch-norm", "frozen")
    assert code == 0
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    before, after = (models.load(path).constants() for path in (network, tmp_path / "t.onnx"))
    for name, constant in before.items():
        same = np.array_equal(constant.values, after[name].values)
        assert same == ("running" in name), name


def without_speed(records):
    return [{key: value for key, value in r.items() if key != "images_per_second"} for r in records]


def lines(run_dir):
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def test_explain_says_what_hit_how_many_nodes_and_trains_nothing(run, tmp_path):
    network = write_network(tmp_path / "c.onnx", PASSES)
    code, out, err = run(network, "--explain", "--batch-size", 4)
    assert (code, err) == (0, "")
    pairs = sum(node.op_type == "QuantizeLinear" for node in onnx.load(network).graph.node)
    *table, rest = out.splitlines()
    for name in ("fake quantise", "integer fake quantise"):
        (line,) = [line for line in table if line.startswith(f"{name} ")]
        assert re.search(rf"\s{pairs}\s", line)
    assert "exponential units" in rest
    assert "fake quantise" not in rest
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.onnx"]
    code, out, _ = run(network, "--explain", "--batch-size", 4, "--json")
    found = json.loads(out)["rewrites"]
    assert {"channel-major", "small convolutions", "relu gradient"} <= {entry["name"] for entry in found}
    assert all(set(entry) == {"name", "when", "nodes"} for entry in found)


def test_explain_shows_learned_scales_and_phases(run, tmp_path):
    passes = "qat{scales=learned begin_weights=0.1 begin_activations=0.25 freeze_bn=0.5}"
    network = write_network(tmp_path / "c.onnx", passes)
    code, out, err = run(network, "--explain", "--batch-size", 4)
    assert (code, err) == (0, "")
    pairs = sum(node.op_type == "QuantizeLinear" for node in onnx.load(network).graph.node)
    (line,) = [line for line in out.splitlines() if line.startswith("gradients of scales ")]
    assert re.search(rf"\s{pairs}\s", line)
    lines = [
        "weights are rounded after 10% of the steps",
        "activations are rounded after 25% of the steps",
        "running statistics stay as they are after 50% of the steps",
    ]
    assert out.splitlines()[-3:] == lines
    code, out, _ = run(network, "--explain", "--batch-size", 4, "--json")
    assert json.loads(out)["phases"] == lines


def test_without_explain_output_data_and_epochs_are_required(run, tmp_path):
    network = write_network(tmp_path / "c.onnx")
    for arguments, missing in (([], "--output"), (["-o", tmp_path / "t.onnx"], "--data")):
        code, _, err = run(network, *arguments)
        assert code == 2
        assert f"Missing option '-o' / '{missing}'" in err or f"Missing option '{missing}'" in err


def test_explain_names_an_operator_without_gradient(run, tmp_path):
    proto = zoo.resnet(size=8)
    node = next(node for node in proto.graph.node if node.op_type == "Relu")
    node.op_type = "Ceil"
    onnx.save(proto, tmp_path / "m.onnx")
    code, _, err = run(tmp_path / "m.onnx", "--explain")
    assert code == 2
    assert "Ceil" in err
    assert node.name in err
