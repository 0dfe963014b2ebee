from __future__ import annotations

from pathlib import Path

import pytest

from onnxcomp import model as models
from onnxcomp import pipeline, recipe
from onnxcomp.report.inspection import byte_text, dimensions, inspect, layer_rows, share, summary_rows
from tests import pictures, run


def test_a_plain_network(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = pictures.network("mlp", opset=15)
    models.save(model, path)
    found = inspect(path)
    assert (found.form, found.recipe, found.opset) == ("inference", "", 15)
    assert found.inputs == {"input": ("N", 3, 16, 16)}
    assert found.outputs == {"output": ("N", 10)}
    assert found.macs == 768 * 32 + 320
    assert found.nodes == {"Flatten": 1, "Gemm": 1, "Relu": 1, "MatMul": 1, "Add": 1}
    assert (found.other_nodes, found.losses) == (0, {})
    assert found.file.raw == path.stat().st_size
    assert found.normalised


def test_a_compression_form(tmp_path: Path) -> None:
    path = tmp_path / "c.onnx"
    passes = recipe.parse("prune,qat,distill")
    whole = pipeline.apply(pictures.network("densenet"), passes, calibration=run.Observed())
    models.save(whole, path)
    found = inspect(path)
    assert (found.form, found.recipe) == ("compression", whole.recipe)
    assert set(found.inputs) == {"input", "labels"}
    assert found.nodes["Conv"] == 10  # not the teacher's
    assert found.nodes["QuantizeLinear"] > 10
    assert found.other_nodes > 20
    assert found.losses == whole.losses
    rows = dict(summary_rows(found))
    assert rows["form"] == "compression"
    assert rows["loss/task"].startswith("weight ")
    assert "non-zero in INT8" in rows
    assert len(layer_rows(found)) == 11


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (dimensions(("N", 3, None, 8)), "Nx3x?x8"),
        (dimensions(()), "?"),
        (byte_text(999_949), "999.9 kB"),
        (byte_text(81_234_567), "81.23 MB"),
        (share(1234, 2468), "1,234 (50.0 %)"),
        (share(0, 0), "0 (0.0 %)"),
    ],
)
def test_texts(text: str, expected: str) -> None:
    assert text == expected
