from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcomp import model as models
from onnxcomp.deploy.estimate import estimate
from onnxcomp.deploy.targets import TARGETS, get_target
from onnxcomp.errors import ModelError, OnnxcompError
from tests import zoo
from tests.deploy.engines.networks import quantised
from tests.deploy.lint.networks import CHANNELS, Net, good
from tests.deploy.networks import compressed

XAVIER = get_target("xavier")


@pytest.mark.parametrize(
    "name", [name for name, target in TARGETS.items() if target.rates and not target.dla]
)
def test_the_parts_make_the_whole(name: str, tmp_path: Path) -> None:
    found = estimate(good().save(tmp_path), get_target(name), batch=4)
    assert found.us == pytest.approx(sum(layer.us for layer in found.layers))
    assert sum(layer.share for layer in found.layers) == pytest.approx(1.0)
    assert 0.0 <= found.int8 <= 1.0
    assert found.reformats[0] == sum(layer.work.kind == "reformat" for layer in found.layers) > 0
    assert all(us < found.us for _, us in found.changes)


def test_quantised_is_faster_than_float(tmp_path: Path) -> None:
    whole = tmp_path / "m.onnx"
    onnx.save(zoo.resnet(), whole)
    small = estimate(quantised(tmp_path / "d.onnx"), XAVIER, batch=64)
    floating = estimate(whole, XAVIER, batch=64, fp16=False)
    assert small.int8 > 0.5
    assert floating.int8 == 0.0
    assert "float" in floating.changes[0][0] or any("INT8 for the" in text for text, _ in floating.changes)


def test_the_batch_of_the_file_is_kept(tmp_path: Path) -> None:
    net = good()
    net.inputs = [("x", (2, 16, 8, 8))]
    path = net.save(tmp_path)
    assert estimate(path, XAVIER, batch=2).batch == 2
    with pytest.raises(OnnxcompError, match="is of a fixed batch of 2"):
        estimate(path, XAVIER, batch=1)


def test_sizes_that_are_free_are_refused(tmp_path: Path) -> None:
    net = good()
    net.inputs = [("x", ("N", 16, "H", "W"))]
    with pytest.raises(OnnxcompError, match=r"input x is \?x16x\?x\?"):
        estimate(net.save(tmp_path), XAVIER)


def test_what_is_no_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_text("hello")
    with pytest.raises(ModelError, match="not an ONNX file"):
        estimate(path, XAVIER)


def test_a_compression_form_is_told_to_be_finalized(tmp_path: Path) -> None:
    path = tmp_path / "c.onnx"
    models.save(compressed(models.from_proto(zoo.resnet(size=8)), "prune"), path)
    with pytest.raises(ModelError, match="is not deployable yet; run onnxcomp finalize on it first"):
        estimate(path, XAVIER)


def test_what_computes_nothing_is_refused(tmp_path: Path) -> None:
    net = Net()
    net.output = net.node("Flatten", "flat", ["x"])
    with pytest.raises(ModelError, match="computes nothing that takes time; estimate a network"):
        estimate(net.save(tmp_path), XAVIER, batch=1)


def test_empty_tensors_are_refused(tmp_path: Path) -> None:
    net = Net()
    net.output = net.node("Conv", "conv", ["x", net.constant("w", np.ones((0, CHANNELS, 1, 1)))])
    with pytest.raises(ModelError, match=r"conv is empty, its shape is \(1, 0, 8, 8\); give every axis"):
        estimate(net.save(tmp_path), XAVIER, batch=1)


@pytest.mark.parametrize(("shape", "group"), [((8, CHANNELS, 1, 1), 0), ((7, 8, 1, 1), 2)])
def test_weights_that_no_convolution_takes_are_refused(
    shape: tuple[int, ...], group: int, tmp_path: Path
) -> None:
    net = Net()
    net.output = net.node("Conv", "conv", ["x", net.constant("w", np.ones(shape))], group=group)
    with pytest.raises(ModelError, match=r"^the weight of conv is \dx\d+x1x1, which Conv does not take"):
        estimate(net.save(tmp_path), XAVIER, batch=1)
