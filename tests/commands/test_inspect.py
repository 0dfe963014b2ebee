from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcomp import model as models
from onnxcomp.models.export import export
from tests import zoo
from tests.commands.call import call
from tests.deploy.kinds import KINDS


@pytest.mark.parametrize("name", zoo.ALL)
def test_every_network_has_its_layers_and_summary(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.ALL[name](), path)
    code, out, err = call(capsys, "inspect", path)
    assert (code, err) == (0, "")
    code, text, _ = call(capsys, "inspect", path, "--json")
    found = json.loads(text)
    for layer in found["layers"]:
        (line,) = (line for line in out.splitlines() if line.startswith(layer["name"] + " "))
        assert line.split()[1] == layer["op"]
        assert f"{layer['macs']:,}" in line
    assert f"MACs per image  {found['macs']:,}" in out
    assert f"parameters      {found['parameters']['total']:,}" in out


def test_what_zeros_bring_is_a_line_for_each_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.mlp(), path)
    _, out, _ = call(capsys, "inspect", path)
    lines = out[out.index("zeros and cuts\n") :].splitlines()[2:]
    assert [line.split("  ")[0] for line in lines] == [
        *("zero weights", "layers", "2:4 pattern", "MACs with a zero"),
        *(f"on {name}" for name in KINDS),
    ]


@pytest.mark.parametrize("name", KINDS)
def test_one_target_is_shown_in_full(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.mobilenet(), path)
    code, out, _ = call(capsys, "inspect", path, "--target", name)
    assert code == 0
    assert "aligned" in out.splitlines()[0].split()
    assert f"target            {name}: {KINDS[name].description}\n" in out
    assert f"zeros there       {KINDS[name].sparsity}\n" in out
    assert ("2:4 there" in out) is (KINDS[name].two_four is not None)


def test_json_keeps_its_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.mlp(), path)
    _, text, _ = call(capsys, "inspect", path, "--target", "orin", "--json")
    found = json.loads(text)
    assert set(found) == {
        *("form", "recipe", "opset", "inputs", "outputs", "classes", "normalised", "parameters", "macs"),
        *("file", "nodes", "other_nodes", "losses", "accounting", "layers"),
    }
    assert set(found["accounting"]) == {
        *("weights", "zeros", "patterns", "two_four", "dead_outputs", "dead_inputs", "macs_of_zeros"),
        *("cut", "targets"),
    }
    assert found["accounting"]["targets"] == {
        "orin": {
            **{"target": "orin", "macs_saved": 0, "macs_saved_at_most": 0, "alignment": 32},
            **{"unaligned": [found["layers"][1]["name"]], "wide": [], "considered": []},
        }
    }
    assert set(found["layers"][0]) == {
        *("name", "op", "tensor", "weight", "inputs", "outputs", "groups", "output", "parameters", "macs"),
        *("sparsity", "zeros", "pattern", "two_four", "dead_outputs", "dead_inputs", "precision"),
    }


@pytest.mark.parametrize("width", [80, 160])
def test_a_narrow_terminal_cuts_nothing(
    width: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    path = tmp_path / "m.onnx"
    onnx.save(zoo.densenet(), path)
    _, out, _ = call(capsys, "inspect", path, "--target", "orin")
    lines = [re.sub(r"\x1b\[\d*m", "", line).rstrip() for line in out.splitlines()]
    assert max(map(len, lines)) <= width
    headings = lines[1].split()
    assert {"layer", "MACs", "sparsity", "pattern", "aligned"} <= set(headings)
    assert ("Left out on" in out) is (width == 80)
    assert not any("…" in line for line in lines)


def test_an_unknown_target_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.mlp(), path)
    code, out, err = call(capsys, "inspect", path, "--target", "xaver")
    assert (code, out) == (2, "")
    assert err == "Error: --target: there is no target xaver; did you mean xavier?\n"


def test_a_file_that_is_not_onnx_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("not a network")
    code, out, err = call(capsys, "inspect", path)
    assert (code, out) == (2, "")
    assert err.startswith(f"Error: {path}: not an ONNX file")
    assert err.count("\n") == 1


HOSTILE = "\x1b[31m<img src=x onerror=alert(1)>\x1b]0;owned\x07\r\nsecond line\u202e"


def test_names_of_a_file_are_shown_and_not_obeyed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proto = zoo.mlp()
    proto.graph.node[1].name = HOSTILE
    proto.graph.input[0].name = proto.graph.node[0].input[0] = "in\x1b[2Jput"
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    for arguments in ([], ["--diff", path], ["--target", "orin"], ["--filter", "*img*"]):
        code, out, err = call(capsys, "inspect", path, *arguments)
        assert code == 0
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out + err)
    _, out, _ = call(capsys, "inspect", path)
    assert r"\x1b[31m<img src=x onerror=alert(1)>\x1b]0;owned\x07\r\nsecond line\u202e" in out
    _, text, _ = call(capsys, "inspect", path, "--json")
    assert text.isascii()
    assert json.loads(text)["layers"][0]["name"] == HOSTILE


@pytest.fixture
def densenet(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.densenet(), path)
    return path


def test_layers_are_sorted_and_filtered_and_sums_are_not(
    densenet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, text, _ = call(capsys, "inspect", densenet, "--json")
    whole = json.loads(text)
    arguments = ("--sort", "macs", "--filter", "*denseblock1*", "--filter", "class*", "--op", "Conv")
    _, text, _ = call(capsys, "inspect", densenet, *arguments, "--json")
    some = json.loads(text)
    kept = [layer for layer in whole["layers"] if "denseblock1" in layer["name"]]
    assert some["layers"] == sorted(kept, key=lambda layer: -layer["macs"])
    assert {**some, "layers": 0} == {**whole, "layers": 0}
    code, out, _ = call(capsys, "inspect", densenet, *arguments)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == f"{len(kept)} of {len(whole['layers'])} layers"
    assert [line.split()[0] for line in lines[2 : 2 + len(kept)]] == [lay["name"] for lay in some["layers"]]
    assert f"MACs per image  {whole['macs']:,}" in out


def test_nothing_that_fits_is_no_error(densenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "inspect", densenet, "--precision", "int8")
    assert (code, err) == (0, "")
    assert out.startswith("0 of 11 layers\n")


def test_the_deflated_size_only_if_asked(densenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, text, _ = call(capsys, "inspect", densenet, "--json")
    assert json.loads(text)["file"] == {"raw": densenet.stat().st_size, "deflated": None}
    _, out, _ = call(capsys, "inspect", densenet)
    assert re.search(r"^deflated +not measured; --deflated does", out, re.MULTILINE)
    _, text, _ = call(capsys, "inspect", densenet, "--deflated", "--json")
    assert 0 < json.loads(text)["file"]["deflated"] < densenet.stat().st_size


def test_the_difference_of_two_files(
    densenet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = models.load(densenet)
    name = "classifier.weight"
    model.constants()[name].values = model.constants()[name].values * np.float32(0)
    other = tmp_path / "other.onnx"
    models.save(model, other)
    code, out, err = call(capsys, "inspect", "--diff", densenet, other)
    assert (code, err) == (0, "")
    assert out.startswith("1 of 11 layers, as they differ\n")
    assert "0.0 % -> 100.0 %" in out
    assert f"{densenet} -> {other}\n" in out
    assert out.endswith("other values in 1 of the 56 constants in both\n")
    _, text, _ = call(capsys, "inspect", other, "--diff", densenet, "--json")
    found = json.loads(text)
    assert set(found) == {"same", "facts", "operators", "nodes", "layers", "tensors"}
    assert not found["same"]
    assert found["tensors"] == {"in_both": 56, "changed": 1}
    (layer,) = found["layers"]
    assert layer["changes"]["sparsity"] == {"before": 0.0, "after": 100.0}
    _, out, _ = call(capsys, "inspect", other, "--diff", other)
    assert out.endswith("the networks are the same\n")


def test_the_difference_has_no_target(densenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "inspect", densenet, "--diff", densenet, "--target", "orin")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "--diff and --target exclude each other" in err


def test_of_two_files_the_damaged_one_is_named(densenet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = densenet.with_name("half.onnx")
    damaged.write_bytes(densenet.read_bytes()[:5000])
    for arguments in ((densenet, "--diff", damaged), (damaged, "--diff", densenet)):
        code, out, err = call(capsys, "inspect", *arguments)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith(f"Error: {damaged}: ")


def test_densenet201_answers_within_two_seconds(tmp_path: Path) -> None:
    """Of processor time: one thread works, so that is the time of a machine with nothing else to do."""
    path = tmp_path / "densenet201.onnx"
    export("densenet201", path, num_classes=10, input_size=32, stem="cifar")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "onnxcomp.cli", "inspect", str(path)], capture_output=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert b"features.denseblock4.denselayer32.conv2 " in done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2
