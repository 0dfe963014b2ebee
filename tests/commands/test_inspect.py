from __future__ import annotations

import json
import re
from pathlib import Path

import onnx
import pytest

from onnxcomp.deploy.targets import TARGETS
from tests import zoo
from tests.commands.call import call


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
        *(f"on {name}" for name in TARGETS),
    ]


@pytest.mark.parametrize("name", TARGETS)
def test_one_target_is_shown_in_full(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.mobilenet(), path)
    code, out, _ = call(capsys, "inspect", path, "--target", name)
    assert code == 0
    assert "aligned" in out.splitlines()[0].split()
    assert f"target            {name}: {TARGETS[name].description}\n" in out
    assert f"zeros there       {TARGETS[name].sparsity}\n" in out
    assert ("2:4 there" in out) is (TARGETS[name].two_four is not None)


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
