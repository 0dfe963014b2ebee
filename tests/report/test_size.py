from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.model import Model, from_proto, save
from onnxcomp.report.size import Parameters, count_parameters, file_size
from tests import run, zoo

MLP = 768 * 32 + 32 + 32 * 10 + 10


# By hand: weights and biases, and scale and bias of each BatchNormalization.
BY_HAND = {
    "mlp": MLP,
    "resnet": 12 * 27 + 2 * 12 * 108 + 24 * 108 + 24 * 216 + 24 * 12 + 3 * 12 + 3 * 24 + 250,
    "mobilenet": 224 + 288 + 320 + 264 + 288 + 320 + 528 + 170,
    "densenet": 432 + 2 * (512 + 768) + 512 + 4 * 2304 + 330 + 2 * (16 + 2 * (16 + 32 + 24 + 32) + 32 + 32),
}


@pytest.mark.parametrize("name", zoo.ALL)
def test_parameters_by_hand(name: str) -> None:
    total = BY_HAND[name]
    assert count_parameters(from_proto(zoo.ALL[name]())) == Parameters(total, total, total)


def compressed(passes: str) -> Model:
    small = passes.replace("prune", "prune{keep_first=false keep_last=false}")
    return pipeline.apply(from_proto(zoo.mlp()), recipe.parse(small), calibration=run.Observed())


def test_masks_scales_and_teacher_are_no_parameters() -> None:
    found = count_parameters(compressed("prune,qat"))
    assert (found.total, found.nonzero) == (MLP, MLP)
    assert count_parameters(compressed("prune,distill")).total == MLP


def test_masked_weights_are_zero() -> None:
    model = compressed("prune,qat")
    mask = graphs.masks(model.graph)["w1"]
    mask.values = mask.values.copy()
    mask.values[:500] = 0
    found = count_parameters(model)
    assert found.nonzero == MLP - 500 * 32
    assert found.nonzero_int8 < found.nonzero


def test_int8_rounding_is_counted_per_channel() -> None:
    model = compressed("qat")
    expected = MLP
    for name in ("w1", "w2"):
        values = model.constants()[name].values
        step = np.abs(values).max(axis=0) / 127
        expected -= int(np.count_nonzero(np.abs(values) < step / 2))
    found = count_parameters(model)
    # a value within float32 of half a step may round either way
    assert found.nonzero_int8 == pytest.approx(expected, abs=3)
    assert found.nonzero_int8 < MLP


def test_stored_int8_weights_count_less_their_zero_point() -> None:
    image = gs.Variable("input", np.float32, ("N", 3, 2, 2))
    flat, weight, logits = (gs.Variable(name, np.float32) for name in ("flat", "weight", "output"))
    logits.shape = ["N", 2]
    stored = gs.Constant("stored", np.array([[5, 4]] * 12, np.int8))
    parts = [
        stored,
        gs.Constant("scale", np.ones(2, np.float32)),
        gs.Constant("zero", np.array([5, 0], np.int8)),
    ]
    nodes = [
        gs.Node("Flatten", "flatten", {"axis": 1}, [image], [flat]),
        gs.Node("DequantizeLinear", "dequantize", {"axis": 1}, parts, [weight]),
        gs.Node("MatMul", "matmul", {}, [flat, weight], [logits]),
    ]
    model = Model(gs.Graph(nodes, [image], [logits], opset=17))
    assert count_parameters(model) == Parameters(24, 12, 12)


def test_the_file_and_its_deflated_size(tmp_path: Path) -> None:
    path, archive = tmp_path / "m.onnx", tmp_path / "m.zip"
    model = from_proto(zoo.mlp())
    weight = model.constants()["w1"]
    weight.values = np.where(np.arange(32) < 16, weight.values, np.float32(0))
    save(model, path)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
        file.write(path, "m")
    found = file_size(path)
    assert found.raw == path.stat().st_size
    assert found.deflated == pytest.approx(archive.stat().st_size, abs=200)  # the zip's own headers
    assert found.deflated < 0.7 * found.raw


def test_external_data_belongs_to_the_file(tmp_path: Path) -> None:
    whole, split = tmp_path / "whole.onnx", tmp_path / "split.onnx"
    onnx.save(zoo.mlp(), whole)
    onnx.save(zoo.mlp(), split, save_as_external_data=True, location="weights.bin", size_threshold=100)
    assert split.stat().st_size < 3000
    found, expected = file_size(split), file_size(whole)
    assert found.raw == pytest.approx(expected.raw, rel=0.1)  # external data is aligned to pages
    assert found.raw >= MLP * 4 - 200
    assert found.deflated == pytest.approx(expected.deflated, rel=0.05)
