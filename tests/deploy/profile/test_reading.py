"""trtexec's files put together."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcomp.deploy.profile.nodes import names
from onnxcomp.deploy.profile.profile import Conditions
from onnxcomp.deploy.profile.reading import read
from onnxcomp.deploy.trtexec.exports.layer_times import read_layer_times
from onnxcomp.deploy.trtexec.exports.layers import parse_layers, read_layers
from onnxcomp.deploy.trtexec.exports.runs import read_runs
from onnxcomp.deploy.trtexec.exports.runs import summary as summary_of
from onnxcomp.deploy.trtexec.log import Summary, Times, read_log
from tests.deploy.profile.network import NODES, layer_of, network, profile
from tests.deploy.trtexec.installed import VERSIONS as VERSIONS_OF_STAND_IN
from tests.deploy.trtexec.installed import built, run
from tests.deploy.trtexec.samples import REAL, VERSIONS, needs_real, sample


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version(version: str) -> None:
    found = profile(version)
    assert math.fsum(layer.share or 0 for layer in found.layers) == pytest.approx(1)
    conv2 = layer_of(found, "conv2")
    assert (conv2.main, conv2.precision, conv2.multiplies, conv2.sparse) == ("conv2", "INT8", True, True)
    assert conv2.sparse_kernel is (version in ("10", "11"))
    assert conv2.shape == (4, 64, 16, 16)
    assert {"conv2", "add", "relu2", "conv2.weight.Q"} <= set(conv2.nodes)
    assert "conv2.weight" not in conv2.nodes
    assert layer_of(found, "conv3").float_output
    assert layer_of(found, "x.Q").reformat
    (copy,) = [layer for layer in found.layers if layer.beside]
    assert (copy.beside, copy.nodes, copy.precision) == (("mean",), (), "FP16 to FP16")


def test_shares_of_the_samples() -> None:
    # Of the times in tests/deploy/trtexec/samples/8.5: INT8 80 + 50 + 40, in all 213 microseconds.
    totals = profile("8.5").totals
    assert totals.ms == pytest.approx(0.213)
    assert totals.int8 == pytest.approx(170 / 213)
    assert totals.int8_products == pytest.approx(170 / 176)
    assert (totals.reformats, totals.float_outputs, totals.sparse, totals.sparse_kernels) == (2, 1, 2, 0)
    assert totals.reformats_ms == pytest.approx(0.025)


def test_the_summary_is_that_of_the_log_where_it_is_whole() -> None:
    times, runs = Times(median=5.0), read_runs(sample("10", "times"))
    whole = Summary(throughput=1.0, latency=times, gpu=times)
    assert read(whole, None, None, runs).summary == whole
    assert read(Summary(throughput=1.0), None, None, runs).summary == summary_of(runs)
    assert read(Summary(throughput=1.0), None, None).summary == Summary(throughput=1.0)
    assert read(None, None, None).summary is None


def test_names_alone() -> None:
    engine = parse_layers('{"Layers": ["conv1.weight + conv1", "NoSuch"], "Bindings": []}', "f")
    found = read(None, None, engine, None, names(network()))
    assert [layer.nodes for layer in found.layers] == [("conv1",), ()]
    assert [layer.ms for layer in found.layers] == [None, None]
    assert (found.totals.int8, found.totals.ms) == (None, 0)


def test_times_alone() -> None:
    found = read(None, read_layer_times(sample("8.5", "profile")), None)
    assert found.layers[1].nodes == ("conv1.weight", "conv1.weight.Q", "conv1", "pool")
    assert found.layers[1].share == pytest.approx(80 / 213)
    assert found.layers[4].reformat


def test_conditions_are_kept() -> None:
    conditions = Conditions(gpu="Xavier", power="MAXN", batch=4)
    assert profile("8.5", conditions=conditions).conditions == conditions


@pytest.mark.parametrize("version", VERSIONS_OF_STAND_IN)
def test_what_the_stand_in_for_trtexec_writes(version: str, tmp_path: Path) -> None:
    onnx.save(network(), tmp_path / "m.onnx")
    words = ["--profilingVerbosity=detailed", *(["--int8", "--fp16"] if version != "11.1.0" else [])]
    there, engine = built(tmp_path, tmp_path / "m.onnx", words, version=version, chosen=["conv2"])
    exports = [f"--export{kind}={tmp_path / kind}" for kind in ("Profile", "LayerInfo", "Times")]
    code, text = run(there, f"--loadEngine={engine}", "--separateProfileRun", "--warmUp=1", *exports)
    assert code == 0, text
    runs = read_runs(tmp_path / "Times", warm_up=1)
    summary = read_log(text).summary
    engine_layers = read_layers(tmp_path / "LayerInfo")
    found = read(summary, read_layer_times(tmp_path / "Profile"), engine_layers, runs, names(network()))
    assert found.summary == summary
    assert summary is not None
    assert summary.gpu is not None
    assert summary.gpu.median == pytest.approx(np.median(runs.compute), rel=1e-4)
    assert layer_of(found, "conv2").precision == "INT8"
    assert found.totals.sparse_kernels == 1
    assert all(layer.ms for layer in found.layers)
    held = {node for layer in found.layers for node in layer.nodes}
    assert {name for name, operator, *_ in NODES if not operator.endswith("Linear")} <= held


@needs_real
def test_real_output() -> None:
    found = read(
        None,
        read_layer_times(REAL / "profile_trt8.json"),
        read_layers(REAL / "layerinfo_trt8.json"),
        read_runs(REAL / "times_trt8.json"),
    )
    assert [layer.ms for layer in found.layers[:2]] == [0.095232, 0.072704]
    assert [layer.ms for layer in found.layers[5:]] == [None, None]
    assert found.summary is not None
    assert found.summary.gpu is not None
    assert found.summary.gpu.median == 0.54784
    int8 = 0.072704 + 0.031744 + 0.034816 + 0.03072
    assert found.totals.int8 == pytest.approx(int8 / (int8 + 0.095232))
    assert found.totals.int8_products == 1
