from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxcomp import model as models
from onnxcomp import pipeline, recipe
from onnxcomp.deploy.targets import get_target
from onnxcomp.report.inspection import byte_text, dimensions, inspect, layer_table, share, summary_rows
from tests import pictures, run
from tests.deploy.kinds import KINDS


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
    columns, cells = layer_table(found)
    assert len(cells) == 11
    assert {len(row) for row in cells} == {len(columns)}


def test_a_target_shows_which_widths_suit_it(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    models.save(pictures.network("resnet", widths=(12, 32)), path)
    columns, cells = layer_table(inspect(path), get_target("ort-cpu"))
    assert columns[-1] == "aligned"
    assert [row[-1] for row in cells] == [
        *("3 in, 12 out", "12 in, 12 out", "12 in, 12 out", "12 in", "12 in", "yes", "10 out"),
    ]
    assert "aligned" not in layer_table(inspect(path))[0]


def test_dead_outputs_have_a_column_where_there_are_any(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = pictures.network("resnet")
    weight = model.constants()["fc.weight"]
    weight.values = weight.values * (np.arange(10)[:, None] % 5 > 0).astype(np.float32)
    models.save(model, path)
    columns, cells = layer_table(inspect(path), get_target("orin"))
    assert columns[-2:] == ("dead outputs", "aligned")
    assert [row[-2] for row in cells] == ["0"] * 6 + ["2"]


def test_only_the_targets_asked_for_are_accounted(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    models.save(pictures.network("mlp"), path)
    assert list(inspect(path).accounting.targets) == list(KINDS)
    assert list(inspect(path, [get_target("orin")]).accounting.targets) == ["orin"]


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
