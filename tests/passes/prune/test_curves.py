"""The file of measured curves: what is read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onnxcomp.passes.prune import curves

GOOD = {
    "format": "onnxcomp.sensitivity.1",
    "dense": {"top1": 90.0, "loss": 0.3},
    "layers": {"w": {"0.5": {"top1": 88.0, "loss": 0.4}}},
    "images": 1000,
}


def test_a_good_file_is_given_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    assert curves.read(str(path)) == GOOD


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "is no JSON"),
        ("[]", "is not of the format onnxcomp.sensitivity.1"),
        ({**GOOD, "format": "onnxcomp.sensitivity.9"}, "is not of the format"),
        ({**GOOD, "dense": {}}, "is damaged"),
        ({**GOOD, "dense": {"top1": "high"}}, "is damaged"),
        ({**GOOD, "dense": {"top1": float("nan")}}, "is damaged"),
        ({**GOOD, "layers": ["w"]}, "is damaged"),
        ({**GOOD, "layers": {"w": {"half": {"top1": 1.0}}}}, "is damaged"),
        ({**GOOD, "layers": {"w": {"1.5": {"top1": 1.0}}}}, "is damaged"),
        ({**GOOD, "layers": {"w": {"0.5": {"loss": 1.0}}}}, "is damaged"),
        ({**GOOD, "layers": {"w": {"0.5": 3}}}, "is damaged"),
    ],
    ids=str,
)
def test_a_bad_one_says_why(tmp_path: Path, content: Any, reason: str) -> None:
    path = tmp_path / "s.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=reason):
        curves.read(str(path))


def test_one_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        curves.read(str(tmp_path / "none.json"))
    with pytest.raises(ValueError, match="Is a directory"):
        curves.read(str(tmp_path))
    (tmp_path / "s.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(ValueError, match="is no JSON"):
        curves.read(str(tmp_path / "s.json"))
