"""``results.json`` as it is on the disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from onnxcomp.page import results
from onnxcomp.page.results import DamagedError

EVALUATION = {
    "accuracy": {"top1": 76.41, "top5": 98.63, "count": 10000},
    "file": {"raw": 73719076, "deflated": 43172188},
    "parameters": {"total": 18112138, "nonzero": 18112128, "nonzero_int8": 18112128},
    "latency": {"median": 8.1, "p99": 8.5, "runs": 244, "threads": 1, "batch": 1},
}


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def content(**change: object) -> dict[str, object]:
    row = {"name": "dense", "file": "dense.onnx", "evaluation": EVALUATION, **change}
    return {"recipe": "prune", "rows": [row]}


def test_an_older_one_without_macs_and_provider(tmp_path: Path) -> None:
    (row,) = results.read(write(tmp_path / "r.json", content())).rows
    assert row.evaluation.macs is None
    assert row.evaluation.latency is not None
    assert (row.evaluation.latency.provider, row.evaluation.latency.median) == ("cpu", 8.1)


@pytest.mark.parametrize(
    ("damaged", "why"),
    [
        ("{", "is damaged"),
        ("[1]", "is damaged"),
        (json.dumps({"recipe": "prune"}), "is damaged (rows: Field required)"),
        (json.dumps(content(file="../../etc/passwd")), "names a file of another folder"),
        (json.dumps(content(evaluation={**EVALUATION, "accuracy": {"top1": None}})), "accuracy.top1"),
        (json.dumps(content(evaluation=EVALUATION)).replace("76.41", "NaN"), "accuracy.top1"),
    ],
)
def test_what_compress_did_not_write_is_refused(tmp_path: Path, damaged: str, why: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(damaged)
    with pytest.raises(DamagedError) as caught:
        results.read(path)
    assert str(caught.value).startswith(str(path))
    assert why in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="cannot be read"):
        results.read(tmp_path / "r.json")
