from __future__ import annotations

from pathlib import Path

import pytest

from onnxcomp.nearest import meant, meant_path


def test_the_nearest_or_what_else_is_to_be_said() -> None:
    assert meant("Xavir", ["orin", "xavier"], "choose") == "did you mean xavier?"
    assert meant("h100", ["orin", "xavier"], "choose") == "choose"
    assert meant("cat", ["cart", "xavier"], "choose", alike=0.9) == "choose"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "densenet201.onnx").touch()
    (tmp_path / "ruins.txt").touch()
    return tmp_path


def test_a_file_in_the_same_folder(folder: Path) -> None:
    assert meant_path(folder / "runs" / "densenet20.onnx") == (
        f"did you mean {folder / 'runs' / 'densenet201.onnx'}?"
    )
    assert meant_path(folder / "runs" / "resnet.onnx") == "check the path"
    assert meant_path(folder / "runs" / "m.onnx", "look") == "look"


def test_a_folder_on_the_way(folder: Path) -> None:
    assert meant_path(folder / "runz" / "deep" / "m.onnx") == f"did you mean {folder / 'runs'}?"


def test_a_relative_path_stays_relative(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder / "runs")
    assert meant_path(Path("densenet20.onnx")) == "did you mean densenet201.onnx?"


@pytest.mark.parametrize("name", ["a\0b", "a" * 300, "runs", "runs/densenet201.onnx/x"])
def test_what_cannot_be_looked_up(folder: Path, name: str) -> None:
    assert meant_path(folder / name) == "check the path"
