from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxcomp.errors import OnnxcompError
from onnxcomp.passes.prune import curves as readers
from onnxcomp.sensitivity.prune.curves import FORMAT, Curves, save, to_json
from onnxcomp.sensitivity.scores import Point

CURVES = Curves(
    model="ab12",
    data="training images of pictures",
    criterion="magnitude",
    pattern="unstructured",
    images=23,
    dense=Point(90.0, 0.5),
    layers={
        "a": {0.5: Point(91.0, 0.4), 0.95: Point(80.0, 0.9)},
        "b": {0.5: Point(90.0, 0.5), 0.95: Point(10.0, 2.5)},
    },
    left={"c": "7 inputs are not divisible by 4"},
)


def test_the_file_has_the_documented_form(tmp_path: Path) -> None:
    save(CURVES, tmp_path / "s.json")
    text = (tmp_path / "s.json").read_text(encoding="utf-8")
    assert json.loads(text) == {
        "format": "onnxcomp.sensitivity.1",
        "model": "ab12",
        "data": "training images of pictures",
        "criterion": "magnitude",
        "pattern": "unstructured",
        "images": 23,
        "dense": {"top1": 90.0, "loss": 0.5},
        "layers": {
            "a": {"0.5": {"top1": 91.0, "loss": 0.4}, "0.95": {"top1": 80.0, "loss": 0.9}},
            "b": {"0.5": {"top1": 90.0, "loss": 0.5}, "0.95": {"top1": 10.0, "loss": 2.5}},
        },
        "left": {"c": "7 inputs are not divisible by 4"},
    }


def test_pruning_reads_what_is_written(tmp_path: Path) -> None:
    save(CURVES, tmp_path / "s.json")
    assert readers.read(str(tmp_path / "s.json")) == to_json(CURVES)
    assert readers.FORMAT == FORMAT


def test_the_most_sensitive_come_first_by_loss() -> None:
    assert CURVES.by_sensitivity() == ["b", "a"]
    assert CURVES.rise("b") == pytest.approx(1.0, abs=1e-12)
    assert CURVES.rise("a") == pytest.approx(0.15, abs=1e-12)


def test_drops_are_points_below_dense() -> None:
    assert CURVES.drop("b", 0.95) == 80.0
    assert CURVES.drop("a", 0.5) == -1.0
    assert CURVES.sparsities == [0.5, 0.95]


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(OnnxcompError, match="no such folder"):
        save(CURVES, tmp_path / "missing" / "s.json")
