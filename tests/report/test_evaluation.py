from __future__ import annotations

from pathlib import Path

import pytest

from onnxcomp import model as models
from onnxcomp import pipeline, recipe
from onnxcomp.parity.accuracy import evaluate_accuracy
from onnxcomp.report.evaluation import evaluate, evaluation_rows
from tests import pictures, run
from tests.report.test_layers import BY_HAND


@pytest.mark.parametrize("passes", [None, "qat,distill"])
def test_every_form_is_measured(tmp_path: Path, passes: str | None) -> None:
    path, model, images = tmp_path / "m.onnx", pictures.network("resnet"), pictures.pictures()
    if passes:
        model = pipeline.apply(model, recipe.parse(passes), calibration=run.Observed())
    models.save(model, path)
    found = evaluate(path, model, images, threads=1, latency_runs=3)
    assert found.accuracy == evaluate_accuracy(model, images, threads=1)
    assert found.file.raw == path.stat().st_size
    assert found.latency is not None
    assert found.latency.runs == 3
    assert found.macs == sum(BY_HAND["resnet"])  # not the teacher's
    rows = dict(evaluation_rows(found))
    assert rows["MACs per image"] == f"{found.macs:,}"
    assert rows["images"] == "23"
    assert ("non-zero in INT8" in rows) is bool(passes)
    assert rows["latency median (batch 1, CPU, 1 thread)"].endswith(" ms")
    assert rows["latency p99 (3 runs)"].endswith(" ms")


def test_no_runs_no_latency(tmp_path: Path) -> None:
    path, model = tmp_path / "m.onnx", pictures.network("mlp", classes=4)
    models.save(model, path)
    found = evaluate(path, model, pictures.pictures(classes=4), threads=1, latency_runs=0)
    assert found.latency is None
    assert [name for name, _ in evaluation_rows(found)] == [
        "top-1", "images", "file size", "deflated", "parameters", "non-zero", "MACs per image",
    ]  # fmt: skip
