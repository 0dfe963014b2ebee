"""``--dry-run`` of every command that makes much: nothing is left, bad input is refused as always."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxcomp import kept, pipeline, recipe
from onnxcomp import model as models
from onnxcomp.model import Preprocessing
from onnxcomp.training import lock
from tests import zoo
from tests.commands.call import call
from tests.deploy.engines.networks import quantised
from tests.deploy.trtexec import installed
from tests.run import Observed

Capture = pytest.CaptureFixture[str]
DATA = ("--data", "digits", "--threads", "1")
TRAIN = ("--epochs", "0.2", "--lr", "0.001", "--no-augment")
COMMANDS: dict[str, tuple[str, ...]] = {
    "apply": ("apply", "prune,qat,distill", "m.onnx", "-o", "c2.onnx", "--target", "xavier-dla", *DATA,
              "--deployable", "d2.onnx"),
    "train": ("train", "c.onnx", "-o", "t.onnx", *DATA, *TRAIN, "--run-dir", "runs/a"),
    "train plain": ("train", "m.onnx", "-o", "t.onnx", *DATA, *TRAIN),
    "finalize": ("finalize", "c.onnx", "-o", "d2.onnx", "--target", "xavier-dla"),
    "compress": ("compress", "prune,qat,distill", "m.onnx", "--target", "orin", "--run-dir", "runs/b",
                 "--baseline", *DATA, *TRAIN),
    "build": ("build", "d.onnx", "-o", "d.plan", "--target", "xavier", "--trtexec", "./trtexec"),
    "lint": ("lint", "d.onnx", "--target", "xavier", "--fix", "mended.onnx"),
}  # fmt: skip
WRITES = {
    "apply": ["c2.onnx", "d2.onnx", "d2.calib", "d2.precisions.txt"],
    "train": ["t.onnx"],
    "train plain": ["t.onnx"],
    "finalize": ["d2.onnx", "d2.calib", "d2.precisions.txt"],
    "build": ["d.plan", "d.plan.json"],
    "lint": ["mended.onnx"],
    "compress": [
        f"runs/b/{name}"
        for name in (
            *("recipe.yaml", "dense.onnx", "baseline.onnx", "compressed.onnx", "trained.onnx"),
            *("deployable.onnx", "results.json", "compressed.json", "run.json"),
        )
    ],
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(here / "cache"))
    monkeypatch.setattr(kept, "default_root", lambda kind: here / "cache" / kind)
    monkeypatch.chdir(here)
    model = models.from_proto(zoo.densenet(size=8, layers=(1, 1), growth=4))
    model.preprocessing = Preprocessing((80.0,) * 3, (90.0,) * 3)
    models.save(model, here / "m.onnx")
    models.save(pipeline.apply(model, recipe.parse("prune,qat"), calibration=Observed()), here / "c.onnx")
    quantised(here / "d.onnx")
    installed.install(here, version="8.5.2")
    return here


def content(folder: Path) -> dict[str, bytes | None]:
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in paths}


@pytest.mark.parametrize("name", COMMANDS)
def test_says_what_it_would_write_and_writes_nothing(name: str, folder: Path, capsys: Capture) -> None:
    before = content(folder)
    code, out, err = call(capsys, *COMMANDS[name], "--dry-run")
    assert code == 0, err
    lines = out.splitlines()
    assert [line.removeprefix("would write ") for line in lines if line.startswith("would write ")] == (
        WRITES[name]
    )
    assert lines[-1] == "dry run: nothing was written"
    assert content(folder) == before


@pytest.mark.parametrize("name", COMMANDS)
def test_json(name: str, capsys: Capture) -> None:
    code, out, _ = call(capsys, *COMMANDS[name], "--dry-run", "--json")
    found = json.loads(out)
    assert (code, found["dry_run"], found["writes"]) == (0, True, WRITES[name])
    assert found["lines"]


@pytest.mark.parametrize("name", ["apply", "train", "finalize", "lint"])
def test_what_it_announced_is_written_by_the_command(name: str, folder: Path, capsys: Capture) -> None:
    before = content(folder)
    code, _, err = call(capsys, *COMMANDS[name])
    assert code in (0, 1), err  # lint may find what it cannot mend
    new = {path for path in content(folder) if path not in before}
    assert {path for path in new if not path.startswith(("runs", "cache"))} == set(WRITES[name])


def test_apply_touches_as_many_layers_as_it_said(capsys: Capture) -> None:
    _, said, _ = call(capsys, *COMMANDS["apply"], "--dry-run")
    _, done, _ = call(capsys, *COMMANDS["apply"])
    assert "  5 weights masked, " in said
    masked = [line for line in said.splitlines() if "weights masked" in line or "layers in INT8," in line]
    assert len(masked) == 2
    assert [line for line in masked if line not in done.splitlines()] == []
    assert "(looked at 8 images; the command itself looks at up to 512" in said


def test_passes_that_look_long_are_said_without_looking(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*args: object, **named: object) -> None:
        pytest.fail("a dry run looked")

    monkeypatch.setattr("onnxcomp.grams.from_data", lambda *args, **named: refused)
    monkeypatch.setattr("onnxcomp.passes.qat.qat.round_weights", refused)
    text = "prune{criterion=obs schedule=one-shot},qat{rounding=adaround}"
    code, out, err = call(capsys, "apply", text, "m.onnx", "-o", "x.onnx", *DATA, "--dry-run")
    assert code == 0, err
    assert "% of them are zero" in out


def test_train_says_how_long_and_where(capsys: Capture) -> None:
    _, out, _ = call(capsys, *COMMANDS["train"], "--dry-run")
    assert "would train on the 1,437 training images of digits" in out
    assert "  9 steps of 32 images, 44 an epoch: 0.204545 epochs" in out
    assert "  1 measurement on the test images, 1 checkpoint of which the last 2 stay" in out
    assert "  metrics and checkpoints: runs/a" in out


def test_a_run_that_continues_and_one_that_is_finished(capsys: Capture) -> None:
    assert call(capsys, *COMMANDS["train"])[0] == 0
    code, _, err = call(capsys, *COMMANDS["train"], "--dry-run")
    assert (code, err) == (2, "Error: runs/a: is not empty; add --resume or choose another --run-dir\n")
    code, out, _ = call(capsys, *COMMANDS["train"], "--resume", "--dry-run")
    assert code == 0
    assert out.splitlines()[0] == "the run in runs/a is finished: its result would be written"
    assert "would write t.onnx, over what is there" in out
    code, _, err = call(capsys, *COMMANDS["train"], "--resume", "--seed", "7", "--dry-run")
    assert code == 2
    assert "seed" in err


def test_a_folder_in_use(capsys: Capture, folder: Path) -> None:
    assert call(capsys, *COMMANDS["train"])[0] == 0
    before = content(folder)
    with lock.hold(folder / "runs" / "a"):
        code, _, err = call(capsys, *COMMANDS["train"], "--resume", "--dry-run")
    assert code == 2
    assert "is in use by process" in err
    assert content(folder).keys() == before.keys()


def test_compress_takes_what_is_there(capsys: Capture) -> None:
    assert call(capsys, *COMMANDS["compress"])[0] == 0
    code, out, err = call(capsys, *COMMANDS["compress"], "--resume", "--dry-run")
    assert code == 0, err
    assert out.splitlines()[0] == "would take runs/b/compressed.onnx as it is"
    assert "the run in runs/b/training is finished" in out


# What the command refuses, its dry run refuses with the same line.
BAD: dict[str, tuple[str, ...]] = {
    "no such model": ("apply", "prune", "absent.onnx", "-o", "x.onnx"),
    "a pass that needs data": ("apply", "qat", "m.onnx", "-o", "x.onnx"),
    "an order": ("apply", "qat,prune", "m.onnx", "-o", "x.onnx"),
    "an option of a pass": ("apply", "prune", "m.onnx", "-o", "x.onnx", "--set", "prune.sparsty=1"),
    "an output in no folder": ("apply", "prune", "m.onnx", "-o", "absent/x.onnx"),
    "the input as output": ("finalize", "c.onnx", "-o", "c.onnx", "--target", "xavier"),
    "a target": ("finalize", "c.onnx", "-o", "x.onnx", "--target", "xaver"),
    "data": ("train", "m.onnx", "-o", "x.onnx", "--data", "digit", *TRAIN),
    "a number": ("train", "m.onnx", "-o", "x.onnx", *DATA, *TRAIN, "--momentum", "2"),
    "deployable already": ("train", "d.onnx", "-o", "x.onnx", *DATA, *TRAIN),
    "a file as run directory": ("train", "m.onnx", "-o", "x.onnx", *DATA, *TRAIN, "--run-dir", "m.onnx"),
    "a step of too many images": ("train", "m.onnx", "-o", "x.onnx", *DATA, *TRAIN, "--batch-size", "9999"),
    "compress into what is not empty": ("compress", "prune", "m.onnx", "--target", "orin", "--run-dir", ".",
                                        *DATA, *TRAIN),
    "compress what is compressed": ("compress", "prune", "c.onnx", "--target", "orin", "--run-dir", "x",
                                    *DATA, *TRAIN),
    "no trtexec": ("build", "d.onnx", "-o", "d.plan", "--target", "xavier", "--trtexec", "./absent"),
    "a target without TensorRT": ("build", "d.onnx", "-o", "d.plan", "--target", "ort-cpu"),
    "not ONNX": ("lint", "trtexec", "--target", "xavier", "--fix", "x.onnx"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_as_by_the_command(name: str, folder: Path, capsys: Capture) -> None:
    before = content(folder)
    dry = call(capsys, *BAD[name], "--dry-run")
    assert content(folder) == before
    assert dry[0] == 2
    assert dry == call(capsys, *BAD[name])


def test_a_folder_that_cannot_be_made(folder: Path, capsys: Capture) -> None:
    for name in ("train", "compress"):
        words = [*COMMANDS[name], "--run-dir", "m.onnx/deeper"]
        code, out, err = call(capsys, *words, "--dry-run")
        assert (code, out) == (2, "")
        assert err.startswith("Error: m.onnx/deeper: cannot be created")


def test_lint_without_fix_writes_nothing_anyway(capsys: Capture) -> None:
    code, _, err = call(capsys, "lint", "d.onnx", "--target", "xavier", "--dry-run")
    assert (code, err.count("\n")) == (2, 1)
    assert "--dry-run is for --fix" in err
