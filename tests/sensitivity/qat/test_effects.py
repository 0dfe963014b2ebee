from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxcomp.errors import OnnxcompError
from onnxcomp.passes.prune import curves as readers
from onnxcomp.sensitivity.qat.effects import Effect, Effects, save, to_json
from onnxcomp.sensitivity.scores import Compared, Point

EFFECTS = Effects(
    model="ab12",
    recipe="qat",
    data="training images of pictures",
    images=23,
    dense=Point(90.0, 0.5),
    int8=Compared(80.0, 0.9, 20.0),
    between=None,
    layers={
        "a": Effect(Compared(90.0, 0.5, None), Compared(80.0, 0.9, 20.0)),
        "b": Effect(Compared(88.0, 0.6, 30.0), Compared(85.0, 0.7, 25.5)),
        "c": Effect(Compared(89.0, 0.6, 40.0), Compared(91.0, 0.7, 19.5)),
    },
)


def test_the_file_has_the_documented_form(tmp_path: Path) -> None:
    save(to_json(EFFECTS), tmp_path / "s.json")
    found = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    layers = found.pop("layers")
    assert found == {
        "format": "onnxcomp.sensitivity.qat.1",
        "model": "ab12",
        "recipe": "qat",
        "data": "training images of pictures",
        "images": 23,
        "float": {"top1": 90.0, "loss": 0.5},
        "int8": {"top1": 80.0, "loss": 0.9, "sqnr": 20.0},
        "between": None,
        "ranking": ["b", "c", "a"],
    }
    assert layers["a"]["alone"] == {"top1": 90.0, "loss": 0.5, "sqnr": None}
    assert layers["b"]["left"] == {"top1": 85.0, "loss": 0.7, "sqnr": 25.5}


def test_the_most_sensitive_come_first_by_sqnr() -> None:
    assert EFFECTS.by_sensitivity() == ["b", "c", "a"]
    assert EFFECTS.gain("b") == 5.5
    assert EFFECTS.gain("c") == -0.5
    assert EFFECTS.drop(EFFECTS.layers["c"].left) == -1.0


def test_pruning_refuses_the_file(tmp_path: Path) -> None:
    save(to_json(EFFECTS), tmp_path / "s.json")
    with pytest.raises(ValueError, match=r"is not of the format onnxcomp.sensitivity.1"):
        readers.read(str(tmp_path / "s.json"))


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OnnxcompError, match="no such folder"):
        save(to_json(EFFECTS), tmp_path / "missing" / "s.json")
