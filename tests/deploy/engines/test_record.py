from __future__ import annotations

from pathlib import Path

import pytest

from onnxcomp.deploy.engines import record as records
from onnxcomp.deploy.engines.record import Record
from onnxcomp.errors import OnnxcompError

RECORD = Record(
    onnx="d.onnx",
    digest="ab",
    key="ef",
    target="xavier",
    tensorrt="8.5.2",
    gpu="Xavier",
    shapes={"input": [1, 3, 8, 8]},
    options={"fp16": True, "workspace": None},
    dequantised=("a/quantize",),
    eligible=3,
    chosen=None,
    seconds=1.5,
    notes=("clocks vary",),
    sha256="cd",
)


def test_what_is_written_is_read() -> None:
    assert records.parse(RECORD.text, "d.plan.json") == RECORD


def test_it_stands_beside_the_engine(tmp_path: Path) -> None:
    engine = tmp_path / "d.plan"
    assert records.find(engine) is None
    (tmp_path / "d.plan.json").write_text(RECORD.text)
    assert records.find(engine) == RECORD


@pytest.mark.parametrize("text", ["", "{}", "[1]", RECORD.text[:-20], RECORD.text.replace('"ab"', "1")])
def test_what_is_none_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "d.plan.json").write_text(text)
    with pytest.raises(OnnxcompError, match=r"d.plan.json: is not what onnxcomp writes beside an engine"):
        records.find(tmp_path / "d.plan")
