from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxcomp.deploy.targets import TARGETS
from tests.commands.call import call

Capture = pytest.CaptureFixture[str]


def test_all(capsys: Capture) -> None:
    code, out, err = call(capsys, "targets")
    assert (code, err) == (0, "")
    header, *lines, note = out.splitlines()
    assert header.split()[0] == "target"
    assert [line.split()[0] for line in lines] == list(TARGETS)
    assert "estimate" in note
    assert [one["name"] for one in json.loads(call(capsys, "targets", "--json")[1])] == list(TARGETS)


def test_one(capsys: Capture) -> None:
    code, out, _ = call(capsys, "targets", "xavier")
    assert code == 0
    assert out.startswith("target xavier\n")
    assert "Jetson AGX Xavier, TensorRT 8.5.2" in out
    assert json.loads(call(capsys, "targets", "xavier", "--json")[1])["rates"]["int8"] == 22e12


def test_ones_own(capsys: Capture, tmp_path: Path) -> None:
    path = tmp_path / "board.yaml"
    path.write_text("like: orin\ndevice: our board\n")
    code, out, _ = call(capsys, "targets", path)
    assert code == 0
    assert "our board" in out


def test_none(capsys: Capture) -> None:
    code, _, err = call(capsys, "targets", "xaviar")
    assert (code, err) == (2, "Error: --target: there is no target xaviar; did you mean xavier?\n")
