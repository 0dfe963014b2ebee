"""``onnxcomp apply`` as its user meets it."""

from __future__ import annotations

import json
import os
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import onnx
import pytest

from onnxcomp import model as models
from onnxcomp import pipeline
from onnxcomp.deploy.targets import TARGETS
from onnxcomp.model import Form, Preprocessing
from onnxcomp.report import console
from tests import zoo
from tests.commands.call import call


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.resnet(size=8), path)
    return path


def test_all_three_passes(capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path) -> None:
    output = tmp_path / "c.onnx"
    code, out, err = call(
        capsys,
        *("apply", "prune,qat,distill", network, "-o", output, "--data", "digits", "--threads", 1),
        *("--set", "prune.sparsity=0.9", "--calibration-images", 64),
    )
    assert code == 0
    assert err.startswith(f"{network} does not say how its images are normalised")
    assert err.count("\n") == 1
    assert "prune{sparsity=0.9},qat,distill" in out
    onnx.checker.check_model(onnx.load(output), full_check=True)
    found = models.load(output)
    assert found.form is Form.COMPRESSION
    assert found.classes == tuple("0123456789")
    assert found.preprocessing is not None


def test_json_and_the_recipe_file(capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("passes:\n- prune: {sparsity: 0.7}\n- distill\n", encoding="utf-8")
    output = tmp_path / "c.onnx"
    code, out, _ = call(capsys, "apply", "--recipe", recipe, network, "-o", output, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["recipe"] == "prune{sparsity=0.7},distill"
    assert [step["pass"] for step in found["steps"]] == ["prune", "distill"]
    assert found["losses"]["loss/task"] == 0.5


def test_preprocess_is_written_into_the_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    output = tmp_path / "c.onnx"
    code, _, _ = call(capsys, "apply", "prune", network, "-o", output, "--preprocess", "1,2,3/4,5,6")
    assert code == 0
    assert models.load(output).preprocessing == Preprocessing((1, 2, 3), (4, 5, 6))


def test_preprocess_of_other_channels_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    output = tmp_path / "c.onnx"
    code, _, err = call(capsys, "apply", "prune", network, "-o", output, "--preprocess", "1/2")
    assert code == 2
    assert "the preprocessing has 1 channels, the network 3" in err
    assert not output.exists()


def test_a_recipe_and_passes_together_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    code, _, err = call(
        capsys, "apply", "prune", network, "-o", tmp_path / "c.onnx", "--recipe", tmp_path / "r.yaml"
    )
    assert code == 2
    assert "MODEL (the recipe file names the passes) is expected" in err


def test_notes_are_text_on_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    proto = zoo.resnet(size=8)
    for node in proto.graph.node:
        node.input[:] = [name.replace("/layer", "[bold]/layer[/net] ") for name in node.input]
        node.output[:] = [name.replace("/layer", "[bold]/layer[/net] ") for name in node.output]
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    code, out, err = call(capsys, "apply", "distill", path, "-o", tmp_path / "c.onnx")
    assert (code, err) == (0, "")
    line = next(line for line in out.splitlines() if "12x8x8" in line)
    assert line.count("[bold]/layer[/net] ") > 1


def test_nothing_is_assumed_where_the_normalisation_is_known(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    arguments = ("--data", "digits", "--threads", 1, "--calibration-images", 32, "--preprocess", "cifar10")
    code, _, err = call(capsys, "apply", "qat", network, "-o", tmp_path / "c.onnx", *arguments)
    assert (code, err) == (0, "")


def test_the_input_is_never_overwritten(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    before = network.read_bytes()
    (tmp_path / "link.onnx").symlink_to(network)
    for output in (network, tmp_path / "link.onnx"):
        code, _, err = call(capsys, "apply", "prune", network, "-o", output)
        assert code == 2
        assert "is the input too; name another output" in err
    assert network.read_bytes() == before


@pytest.mark.parametrize("options", [(), ("--target", "xavier"), ("--target", "ort-cpu", "--data", "digits")])
def test_passes_are_given_what_the_user_gave(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    network: Path,
    options: tuple[str, ...],
) -> None:
    given: dict[str, Any] = {}
    real = pipeline.apply

    def apply(*args: Any, **named: Any) -> models.Model:
        given.update(named)
        return real(*args, **named)

    monkeypatch.setattr(pipeline, "apply", apply)
    code, _, _ = call(capsys, "apply", "prune", network, "-o", tmp_path / "c.onnx", *options, "--threads", 1)
    assert code == 0
    expected = TARGETS[options[1]].alignment if options else 1
    assert given["alignment"] == expected
    for name in ("calibration", "grams", "gradients"):
        assert (given[name] is not None) == ("--data" in options)


def test_an_unknown_target_is_refused_before_any_work(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    output = tmp_path / "c.onnx"
    code, _, err = call(capsys, "apply", "prune", tmp_path / "no.onnx", "-o", output, "--target", "xaver")
    assert (code, err) == (2, "Error: --target: there is no target xaver; did you mean xavier?\n")


@pytest.mark.parametrize("criterion", ["taylor", "obd", "obs"])
def test_criteria_that_ask_the_data(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    network: Path,
    criterion: str,
) -> None:
    shown: set[str] = set()
    monkeypatch.setattr(
        console, "bars", lambda *_: nullcontext(lambda what, done, total: shown.add(f"{what} of {total}"))
    )
    output = tmp_path / "c.onnx"
    common = ("apply", f"prune{{criterion={criterion} schedule=one-shot}}", network, "-o", output)
    code, _, err = call(capsys, *common)
    assert code == 2
    assert "give --data" in err
    arguments = ("--data", "digits", "--calibration-images", 20, "--threads", 1, "--preprocess", "cifar10")
    code, out, err = call(capsys, *common, *arguments)
    assert (code, err) == (0, "")
    assert "zero" in out
    assert ("layers looked at of 7" if criterion == "obs" else "images differentiated of 20") in shown
    masks = [c.values for name, c in models.load(output).constants().items() if name.endswith(".mask")]
    closed = 1 - sum(m.sum() for m in masks) / sum(m.size for m in masks)
    assert closed == pytest.approx(0.8, abs=1e-3)


def test_a_deployable_file_in_one_command_is_that_of_two(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    one, two, middle = (tmp_path / name for name in ("d.onnx", "e.onnx", "c.onnx"))
    data = ("--data", "digits", "--threads", 1, "--calibration-images", 32, "--target", "orin")
    code, out, _ = call(capsys, "apply", "qat", network, "--deployable", one, *data)
    assert code == 0
    assert "for orin: Jetson AGX Orin" in out
    assert f"wrote {one}: {network.stat().st_size:,} -> {one.stat().st_size:,} bytes" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.onnx", "m.onnx"]
    assert call(capsys, "apply", "qat", network, "-o", middle, *data)[0] == 0
    assert call(capsys, "finalize", middle, "-o", two, "--target", "orin")[0] == 0
    assert one.read_bytes() == two.read_bytes()
    code, out, _ = call(capsys, "apply", "qat", network, "-o", middle, "--deployable", one, *data, "--json")
    found = json.loads(out)
    assert (found["output"], found["deployable"]["output"]) == (str(middle), str(one))
    assert found["deployable"]["report"]["target"] == "orin"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--deployable", "d.onnx"), "--deployable needs --target"),
        ((), "Missing option '-o' / '--output' or '--deployable'"),
        (("-o", "d.onnx", "--deployable", "./d.onnx", "--target", "orin"), "name the same file"),
        (("--deployable", "m.onnx", "--target", "orin"), "m.onnx: is the input too; name another output"),
        (("--deployable", "no/d.onnx", "--target", "orin"), "no: there is no such folder"),
    ],
)
def test_a_deployable_that_cannot_be_is_refused(
    options: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    network: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, "apply", "prune", network.name, *options)
    assert (code, out) == (2, "")
    assert message in err
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize("option", ["-o", "--deployable"])
def test_the_data_is_not_written_over(
    option: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    images = tmp_path / "d.npz"
    images.write_bytes(b"precious")
    code, out, err = call(
        capsys, "apply", "qat", network, option, images, "--data", images, "--target", "orin"
    )
    assert (code, out) == (2, "")
    assert err == f"Error: {images}: is the input too; name another output\n"
    assert images.read_bytes() == b"precious"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_while_it_writes_leaves_nothing(
    number: signal.Signals,
    code: int,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    network: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def write(path: Path, data: bytes) -> None:
        path.write_bytes(data[:100])
        os.kill(os.getpid(), number)

    monkeypatch.setattr(models, "_write", write)
    found, out, err = call(capsys, "apply", "prune", network, "-o", tmp_path / "c.onnx")
    assert (found, out) == (code, "")
    assert err == "Interrupted\n"
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_teachers_from_files(capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path) -> None:
    others = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in others:
        onnx.save(zoo.densenet(size=8), path)
    output = tmp_path / "c.onnx"
    words = [word for path in others for word in ("--teacher", path)]
    code, out, _ = call(capsys, "apply", "distill", network, "-o", output, *words)
    assert code == 0
    assert f"teacher={json.dumps([str(path) for path in others])}" in out
    assert any(node.name.startswith("teacher/1/") for node in models.load(output).graph.nodes)


def test_teachers_are_named_in_one_way(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    words = ["--teacher", network, "--set", 'distill.teacher=["other.onnx"]']
    code, _, err = call(capsys, "apply", "distill", network, "-o", tmp_path / "c.onnx", *words)
    assert (code, err) == (
        2,
        "Error: --teacher: --set distill.teacher names teachers too; name all with --teacher\n",
    )


@pytest.mark.parametrize("option", ["-o", "--deployable"])
def test_what_is_read_is_not_written_over(
    option: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    teacher, recipe = tmp_path / "t.onnx", tmp_path / "r.yaml"
    onnx.save(zoo.densenet(size=8), teacher)
    recipe.write_text("passes: [distill]")
    before = teacher.read_bytes()
    common = ["apply", "--recipe", recipe, network, "--teacher", teacher, "--target", "xavier"]
    for path in (teacher, recipe):
        code, _, err = call(capsys, *common, option, path)
        assert (code, err) == (2, f"Error: {path}: is the input too; name another output\n")
    assert (teacher.read_bytes(), recipe.read_text()) == (before, "passes: [distill]")


def test_a_teacher_without_distill(capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path) -> None:
    output = tmp_path / "c.onnx"
    code, _, err = call(capsys, "apply", "prune", network, "-o", output, "--teacher", network)
    assert code == 2
    assert err == "Error: --teacher: the recipe has no pass distill; add distill to the recipe\n"
    assert not output.exists()


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "not an ONNX file"), (b"\x08\x07garbage", "not an ONNX file"), (None, "no such file")],
)
def test_a_teacher_that_cannot_be_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path, content: bytes | None, what: str
) -> None:
    teacher, output = tmp_path / "t.onnx", tmp_path / "c.onnx"
    if content is not None:
        teacher.write_bytes(content)
    code, _, err = call(capsys, "apply", "distill", network, "-o", output, "--teacher", teacher)
    assert code == 2
    assert err.startswith(f"Error: {teacher}: ")
    assert what in err
    assert err.count("\n") == 1
    assert not output.exists()
