"""What the file of a network says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxcomp import files
from onnxcomp import model as models
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.page import network, results
from tests.made import HOSTILE


def read(run: Path, measured: results.Evaluation | None) -> tuple[network.Network, list[str]]:
    path = run / "deployable.onnx"
    return network.read(path, "x", "run", target="xavier", source=None, measured=measured)


def test_measured_figures_and_those_of_the_file_agree(made: Path) -> None:
    measured = results.read(made / "results.json").rows[-1].evaluation
    one, problems = read(made, measured)
    other, _ = read(made, None)
    assert problems == []
    assert (one.size, one.parameters, one.macs) == (other.size, other.parameters, other.macs)
    assert one.accuracy == measured.accuracy
    assert (other.accuracy, other.latency) == (None, None)
    assert one.digest == files.sha256(made / "deployable.onnx")
    assert one.compressed


def test_figures_of_another_file_are_left_out(run: Path) -> None:
    measured = results.read(run / "results.json").rows[-1].evaluation
    models.save(models.load(run / "dense.onnx"), run / "deployable.onnx")
    found, problems = read(run, measured)
    assert problems == [
        f"{run}/deployable.onnx: is not the file that results.json was written for; its figures are left out"
    ]
    assert found.accuracy is None
    assert found.size.raw == (run / "deployable.onnx").stat().st_size


def test_layers_with_zeros_weights_and_scales(made: Path) -> None:
    described = network.describe(models.load(made / "deployable.onnx"))
    assert HOSTILE in [item.layer.name for item in described]
    assert 0 < sum(item.layer.zeros for item in described) < sum(item.layer.size for item in described)
    quantised = [item for item in described if item.layer.precision == "int8 w+a"]
    assert quantised
    for item in quantised:
        assert item.reach is not None
        assert item.scale is not None
        assert item.reach == pytest.approx((-128 * item.scale, 127 * item.scale))


def test_stored_integers_are_shown_as_the_weights_that_they_stand_for(made: Path) -> None:
    trained = models.load(made / "trained.onnx")
    described = {}
    for target in ("xavier", "orin"):  # float weights in front of Q/DQ, and stored integers
        found = network.describe(finalize(trained, get_target(target)))
        described[target] = {item.layer.name: item for item in found}
    assert described["xavier"].keys() == described["orin"].keys()
    for name, item in described["xavier"].items():
        other = described["orin"][name]
        assert item.weights is not None
        assert other.weights is not None
        # INT8 rounds by half a step of the channel with the widest weights, 1/127 of the limit, at most.
        np.testing.assert_allclose(other.weights.limit, item.weights.limit, rtol=1 / 127)
        np.testing.assert_allclose(other.weights.low, item.weights.low, atol=item.weights.limit / 127)
