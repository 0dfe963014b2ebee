from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import model as models
from onnxcomp import pipeline, recipe
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.model import Model
from onnxcomp.report.difference import Change, Difference, NodeName, difference
from onnxcomp.report.difference_rows import as_json, fact_rows, layer_rows, node_rows, select, status
from onnxcomp.report.selection import Selection
from tests import pictures, run


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return write(tmp_path / "before.onnx", pictures.network("densenet"))


def write(path: Path, model: Model) -> Path:
    models.save(model, path)
    return path


def after(tmp_path: Path, passes: str, **options: object) -> Path:
    model = pipeline.apply(
        pictures.network("densenet", **options), recipe.parse(passes), calibration=run.Observed()
    )
    return write(tmp_path / "after.onnx", model)


def rows(found: Difference) -> dict[str, list[str]]:
    return {name: cells for name, *cells in fact_rows(found)}


def test_a_file_does_not_differ_from_itself(before: Path) -> None:
    found = difference(before, before)
    assert found.is_empty
    assert (found.facts, found.operators, found.added, found.removed) == ({}, {}, [], [])
    assert found.tensors > 20
    assert found.tensors_changed == 0
    assert layer_rows(found, Selection()) == []
    assert {cells[-1] for cells in rows(found).values()} <= {"same", ""}


def test_other_values_alone_are_seen(before: Path, tmp_path: Path) -> None:
    model = models.load(before)
    weight = model.constants()["classifier.weight"]
    weight.values = weight.values * np.float32(1.5)
    found = difference(before, write(tmp_path / "after.onnx", model))
    assert not found.is_empty
    assert found.tensors_changed == 1
    assert [(layer.name, status(layer)) for layer in found.layers if layer.differs] == [
        (found.layers[-1].name, "other values")
    ]


def test_zeros_are_seen_with_their_share(before: Path, tmp_path: Path) -> None:
    model = models.load(before)
    weight = model.constants()["classifier.weight"]
    weight.values = weight.values * (np.arange(weight.values.shape[1]) % 2).astype(np.float32)
    found = difference(before, write(tmp_path / "after.onnx", model))
    (layer,) = (layer for layer in found.layers if layer.differs)
    assert layer.changes["sparsity"] == Change(0.0, 50.0)
    (row,) = layer_rows(found, Selection())
    assert "0.0 % -> 50.0 %" in row
    assert rows(found)["non-zero"][2].startswith("-")
    assert rows(found)["zero weights %"][2].endswith("points")


def test_passes_add_nodes_and_take_none(before: Path, tmp_path: Path) -> None:
    found = difference(before, after(tmp_path, "prune,qat,distill"))
    assert found.removed == []
    assert {node.step for node in found.added} == {"prune", "qat", "distill", "training"}
    assert found.facts["form"] == Change("inference", "compression")
    pairs = found.operators["QuantizeLinear"]
    assert pairs.before is None
    table = {(row[0], row[2], row[3]): row[1] for row in node_rows(found)}
    assert table["added", "QuantizeLinear", "qat"] == str(pairs.after)
    assert all(layer.changes["precision"] == Change("fp32", "int8 w+a") for layer in found.layers)


def test_a_finalized_file_has_lost_its_norms(before: Path, tmp_path: Path) -> None:
    model = pipeline.apply(pictures.network("densenet"), recipe.parse("qat"), calibration=run.Observed())
    done = finalize(model, get_target("ort-cpu"))
    found = difference(before, write(tmp_path / "after.onnx", done))
    assert "BatchNormalization" in {node.op for node in found.removed}
    assert found.facts["form"] == Change("inference", "deployable")


def test_layers_that_came_and_went(before: Path, tmp_path: Path) -> None:
    found = difference(before, after(tmp_path, "prune", layers=(1, 3)))
    states = {layer.name: status(layer) for layer in found.layers}
    assert {"added", "removed"} <= set(states.values())
    assert [name for name, state in states.items() if state == "removed"] == [
        layer.name for layer in found.layers if layer.after is None
    ]
    json = {layer["name"]: layer for layer in as_json(found, Selection())["layers"]}
    for name, state in states.items():
        if state in ("added", "removed"):
            assert json[name]["layer"].name == name
            assert json[name]["status"] == state


def test_layers_of_another_name_meet_by_their_weight(before: Path, tmp_path: Path) -> None:
    model = models.load(before)
    node = next(node for node in model.graph.nodes if node.op == "Gemm")
    old, node.name = node.name, "node_Gemm_17"
    found = difference(before, write(tmp_path / "after.onnx", model))
    (layer,) = (layer for layer in found.layers if layer.differs)
    assert layer.changes == {"name": Change(old, "node_Gemm_17")}
    assert layer_rows(found, Selection())[0][0] == f"{old} -> node_Gemm_17"
    assert found.added == [NodeName("node_Gemm_17", "Gemm", "")]


def test_what_differs_is_selected(before: Path, tmp_path: Path) -> None:
    found = difference(before, after(tmp_path, "prune,qat"))
    names = [layer.name for layer in select(found, Selection(ops=("Gemm",)))]
    assert names == [layer.name for layer in found.layers if layer.after and layer.after.op == "Gemm"]
    sizes = [layer.after.parameters for layer in select(found, Selection(sort="parameters")) if layer.after]
    assert sizes == sorted(sizes, reverse=True)
    assert len(sizes) == len(found.layers)
    assert as_json(found, Selection(names=("nothing",)))["layers"] == []


def test_shapes_are_seen(tmp_path: Path) -> None:
    first = write(tmp_path / "a.onnx", pictures.network("mlp"))
    second = write(tmp_path / "b.onnx", pictures.network("mlp", classes=7))
    found = difference(first, second)
    assert found.facts["classes"] == Change(10, 7)
    assert rows(found)["classes"] == ["10", "7", "differs"]
    assert found.layers[-1].changes["weight"] == Change((32, 10), (32, 7))


def test_the_deflated_size_only_if_asked(before: Path) -> None:
    assert "deflated" not in rows(difference(before, before))
    assert rows(difference(before, before, deflate=True))["deflated"][2] == "same"


def test_constants_that_are_not_float(before: Path, tmp_path: Path) -> None:
    model = models.load(before)
    flatten = next(node for node in model.graph.nodes if node.op == "Flatten")
    shape = gs.Constant("shape", np.array([0, -1], np.int64))
    flatten.op, flatten.attrs = "Reshape", {}
    flatten.inputs.append(shape)
    second = write(tmp_path / "after.onnx", model)
    shape.values = np.array([0, 32], np.int64)
    assert difference(second, second).is_empty
    third = write(tmp_path / "third.onnx", model)
    assert difference(second, third).tensors_changed == 1
