"""``onnxcomp compress``: all of the road in one run directory, and continued."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from onnxcomp import model as models
from onnxcomp import recipe as recipes
from onnxcomp import recipe_file
from onnxcomp.model import Form
from onnxcomp.report import console
from onnxcomp.training import lock
from onnxcomp.training.trainer import Trainer
from tests import zoo
from tests.builder import Builder, conv
from tests.commands.call import call

PASSES = "prune{sparsity=0.7 frequency=2},qat,distill"


def arguments(folder: Path, target: str = "xavier", **options: object) -> list[object]:
    given = {"data": "digits", "epochs": 0.5, "threads": 1, "target": target, "run-dir": folder, **options}
    return [text for name, value in given.items() for text in (f"--{name}", value)]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.densenet(size=8, layers=(2, 1), growth=4), path)
    return path


def test_from_a_network_to_a_deployable_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    folder = tmp_path / "run"
    code, out, _ = call(capsys, "compress", PASSES, network, *arguments(folder), "--baseline", "--json")
    assert code == 0
    rows = json.loads(out)
    assert [row["name"] for row in rows] == [
        "dense, as given",
        "dense, trained on",
        "prune + qat + distill, xavier",
    ]
    assert json.loads((folder / "results.json").read_text())["rows"] == rows
    assert recipe_file.load(folder / "recipe.yaml") == recipes.parse(PASSES)

    trained, deployable = models.load(folder / "trained.onnx"), models.load(folder / "deployable.onnx")
    assert (trained.form, deployable.form) == (Form.COMPRESSION, Form.DEPLOYABLE)
    masks = {name: c.values for name, c in trained.constants().items() if name.endswith(".mask")}
    share = 1 - sum(m.sum() for m in masks.values()) / sum(m.size for m in masks.values())
    assert share == pytest.approx(0.7, abs=1e-3)
    final = deployable.constants()
    for name, mask in masks.items():
        assert not np.any(final[name.removesuffix(".mask")].values[mask == 0])
    assert not any(node.op == "Mul" for node in deployable.graph.nodes)


def test_a_finished_run_is_not_done_again(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    folder = tmp_path / "run"
    common = ["compress", PASSES, network, *arguments(folder)]
    assert call(capsys, *common)[0] == 0
    before = {name: (folder / name).read_bytes() for name in ("compressed.onnx", "deployable.onnx")}
    code, out, err = call(capsys, *common)
    assert (code, out) == (2, "")
    assert "is not empty; add --resume" in err
    code, _, err = call(capsys, *common, "--resume")
    assert code == 0
    assert "the run is finished" in err
    assert before == {name: (folder / name).read_bytes() for name in before}
    code, _, err = call(capsys, "compress", "prune", network, *arguments(folder), "--resume")
    assert code == 2
    assert "the run was begun with the recipe prune{" in err


@pytest.fixture
def begun(capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path) -> list[object]:
    """Words of a run that is done, with a teacher."""
    onnx.save(zoo.densenet(size=8, layers=(2, 1), growth=6), tmp_path / "t.onnx")
    words = ["compress", "qat,distill", network, "--teacher", tmp_path / "t.onnx"]
    words += arguments(tmp_path / "run", "ort-cpu")
    assert call(capsys, *words)[0] == 0
    return words


def other_network(folder: Path) -> list[str]:
    onnx.save(zoo.densenet(size=8, layers=(1, 1), growth=4), folder / "m.onnx")
    return []


def other_teacher(folder: Path) -> list[str]:
    onnx.save(zoo.densenet(size=8, layers=(1, 1), growth=6), folder / "t.onnx")
    return []


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (other_network, "with another network"),
        (other_teacher, "with another teacher "),
        (lambda folder: ["--target", "xavier"], "with the placement of ort-cpu, not tensorrt"),
        (lambda folder: ["--calibration-images", "9"], "with the calibration images 512, not 9"),
    ],
    ids=["network", "teacher", "target", "images"],
)
def test_a_run_goes_on_with_what_it_was_begun_with(
    change: Callable[[Path], list[str]],
    line: str,
    begun: list[object],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    code, _, err = call(capsys, *begun, *change(tmp_path), "--resume")
    assert code == 2
    assert f"the run was begun {line}" in err
    assert before == {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}


def test_a_teacher_that_is_gone_is_in_the_run(
    begun: list[object], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    inputs = json.loads((tmp_path / "run/run.json").read_text())["inputs"]
    (tmp_path / "t.onnx").unlink()
    assert call(capsys, *begun, "--resume")[0] == 0
    assert json.loads((tmp_path / "run/run.json").read_text())["inputs"] == inputs


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{}"])
def test_without_what_it_was_made_of_a_run_does_not_go_on(
    content: bytes | None, begun: list[object], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "run/compressed.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    code, _, err = call(capsys, *begun, "--resume")
    assert code == 2
    assert f"{path}: is missing or damaged; choose another --run-dir" in err


STAGES = 'distill.stages=[{"losses":{"task":1},"steps":0.1},{"losses":{"soft_targets":1}}]'


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--teacher", "none.onnx"], "none.onnx: there is no such file"),
        (["--teacher", "."], "cannot be read (Is a directory)"),
        (["--teacher", "text.onnx"], "text.onnx: "),
        (["--set", STAGES], "stage 1 of 2"),
    ],
    ids=["none", "folder", "text", "stages"],
)
def test_what_is_refused_leaves_room_for_the_next_try(
    words: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    network: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.onnx").write_text("garbage")
    common = ["compress", "distill", network, *arguments(tmp_path / "run", "ort-cpu", epochs=0.05)]
    code, _, err = call(capsys, *common, *words)
    assert code == 2
    assert line in err.splitlines()[-1]
    assert call(capsys, *common)[0] == 0


def test_what_the_target_does_not_take_is_refused_before_the_training(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    net = Builder(0)
    x = net.node("Gelu", [conv(net, "input", "a", 1, 4)], "gelu")
    x = net.node("CenterCropPad", [x, net.constant("size", np.array([4, 4]))], "crop", "crop", axes=[2, 3])
    x = net.node("Flatten", [net.node("GlobalAveragePool", [x], "pool")], "flat")
    weights = [net.constant("w", net.he(10, 4)), net.constant("b", net.small(10))]
    logits = net.node("Gemm", [x, *weights], "fc", transB=1)
    onnx.save(net.model(logits, 20, ("N", 1, 8, 8), 10), tmp_path / "m.onnx")
    code, _, err = call(capsys, "compress", "qat", tmp_path / "m.onnx", *arguments(tmp_path / "run"))
    assert code == 2
    assert "node crop: CenterCropPad is used as opset 18 defines it" in err.splitlines()[-1]
    assert "accuracy" not in err
    assert not (tmp_path / "run/compressed.onnx").exists()


@pytest.mark.parametrize("passes", ["prune", "qat", "distill", "prune,distill"])
def test_every_recipe_ends_in_a_file_for_the_cpu(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path, passes: str
) -> None:
    folder = tmp_path / "run"
    code, out, _ = call(capsys, "compress", passes, network, *arguments(folder, "ort-cpu", epochs=0.1))
    assert code == 0
    assert "dense, as given" in out
    assert (folder / "deployable.onnx").is_file()


def test_a_criterion_asks_the_data_and_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, network: Path
) -> None:
    shown: list[tuple[str, int, int]] = []
    monkeypatch.setattr(console, "bars", lambda *_: nullcontext(lambda *words: shown.append(words)))
    options = arguments(tmp_path / "run", "ort-cpu", epochs=0.1, **{"calibration-images": 6})
    passes = "prune{criterion=obd initial=0.3 end=1 frequency=1}"
    assert call(capsys, "compress", passes, network, *options)[0] == 0
    assert shown == [("images differentiated", done, 6) for done in range(7)]
    constants = models.load(tmp_path / "run" / "trained.onnx").constants()
    masks = [c.values for name, c in constants.items() if name.endswith(".mask")]
    assert 1 - sum(m.sum() for m in masks) / sum(m.size for m in masks) == pytest.approx(0.8, abs=1e-3)


def test_a_compressed_file_and_a_run_dir_that_cannot_be(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    folder = tmp_path / "run"
    compressed = tmp_path / "c.onnx"
    assert call(capsys, "apply", "prune", network, "-o", compressed)[0] == 0
    for given, place, message in (
        (compressed, folder, "is in compression form already"),
        (network, network / "run", "cannot be created (Not a directory)"),
    ):
        code, out, err = call(capsys, "compress", "distill", given, *arguments(place))
        assert (code, out) == (2, "")
        assert message in err
        assert not folder.exists()


def test_a_stopped_run_continues_and_says_how(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    common = ["compress", "prune", network, *arguments(folder, "ort-cpu", epochs=0.2)]
    real, steps = Trainer.step, 0

    def step(self: Trainer, *args: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", step)
        code, out, err = call(capsys, *common)
    assert (code, out) == (130, "")
    assert err.splitlines()[-1].startswith(f"Interrupted; {folder / 'training'} is kept at step 4 of 9;")
    assert err.splitlines()[-1].endswith(f"{network} " + " ".join(map(str, common[3:])) + " --resume")
    assert call(capsys, *common, "--resume")[0] == 0
    assert (folder / "deployable.onnx").is_file()
    assert (folder / "training" / "curves.png").is_file()


def test_two_processes_do_not_share_a_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with lock.hold(folder):
        code, _, err = call(capsys, "compress", "prune", network, *arguments(folder))
    assert code == 2
    assert "is in use by process" in err.splitlines()[-1]
    assert [path.name for path in folder.iterdir()] == [lock.NAME]


def test_bad_input_comes_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    folder = tmp_path / "run"
    for wrong, message in (
        (arguments(folder, "xaver"), "did you mean xavier?"),
        (arguments(folder, epochs=-1), "--epochs: -1.0 is out of range"),
        ([*arguments(folder), "--batch-size", 5000], "5000"),
        (arguments(folder, data="digitz"), "digits"),
    ):
        code, out, err = call(capsys, "compress", "prune", network, *wrong)
        assert (code, out) == (2, "")
        assert message in err
        assert not folder.exists()
