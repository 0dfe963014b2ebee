from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp import model as models
from onnxcomp import recipe as recipes
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from tests import pictures, run, zoo
from tests.commands.call import call
from tests.project import ROOT

Refused = Callable[..., str]


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    model = pictures.network("mobilenet")
    models.save(model, path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return pictures.save_npz(tmp_path / "pictures.npz")


@pytest.fixture
def args(network: Path, data: Path, tmp_path: Path) -> list[object]:
    return ["sensitivity", network, "--data", data, "--cache", tmp_path / "cache", "--threads", 1]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Runs a command that must be refused before it writes anything; gives its one line."""

    def call_it(*args: object) -> str:
        before = set(tmp_path.rglob("*"))
        code, out, err = call(capsys, *args)
        assert (code, out) == (2, ""), err
        assert err.startswith("Error: ")
        assert err.count("\n") == 1, err
        assert set(tmp_path.rglob("*")) == before
        return err

    return call_it


def test_file_picture_table_and_json(
    args: list[object], network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, plot = tmp_path / "s.json", tmp_path / "s.png"
    code, out, err = call(capsys, *args, "-o", output, "--plot", plot, "--sparsities", "0.9,0.5")
    assert code == 0, err
    assert err.splitlines()[-1].startswith("measuring 17 of 17 points, %: 100/100 in ")
    found = json.loads(output.read_text(encoding="utf-8"))
    names = list(dict.fromkeys(w.name for w in graphs.weights(models.load(network).graph)))
    assert list(found["layers"]) == names
    assert all(list(points) == ["0.5", "0.9"] for points in found["layers"].values())
    assert plot.read_bytes().startswith(b"\x89PNG")
    title, columns, *rows, last = out.splitlines()
    assert title.startswith(
        f"{network}: points of top-1 lost by pruning one layer (30 training images of pictures"
    )
    assert columns.split("  ")[0] == "most sensitive"
    assert {row.split()[0] for row in rows} == set(names)
    rises = [float(row.split()[-1]) for row in rows]
    assert rises == sorted(rises, reverse=True)
    assert last == f"wrote {output}"
    code, text, err = call(capsys, *args, "--json", "--sparsities", "0.9,0.5")
    assert code == 0
    assert json.loads(text) == found
    assert err.startswith("all 17 points are known: ")


def test_of_many_layers_the_most_sensitive_are_listed(
    args: list[object], network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models.save(pictures.network("densenet"), network)
    code, out, err = call(capsys, *args, "--sparsities", "0.5", "--pattern", "2:4")
    assert code == 0, err
    assert len([line for line in out.splitlines() if line.startswith(("features", "classifier"))]) == 10
    assert "left out: features.conv0.weight (3 inputs are not divisible by 4)" in out
    code, out, _ = call(capsys, *args, "--sparsities", "0.5")
    assert out.splitlines()[-1] == "and 1 more (-o writes all)"
    assert "left out" not in out


def test_what_the_file_does_not_say_comes_from_the_data_and_options(
    args: list[object], network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx.save(zoo.mobilenet(), network)
    code, _, err = call(capsys, *args, "--sparsities", "0.5")
    assert code == 0
    assert "does not say how its images are normalised: taking" in err
    code, text, err = call(
        capsys,
        *args,
        "--sparsities",
        "0.5",
        "--preprocess",
        "imagenet",
        "--images",
        5,
        "--split",
        "test",
        "--json",
    )
    assert (code, "taking" in err) == (0, False)
    found = json.loads(text)
    assert (found["images"], found["data"]) == (5, "test images of pictures.npz")


def test_damage_in_the_cache_is_said(
    args: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call(capsys, *args, "--sparsities", "0.5")
    files = sorted((tmp_path / "cache").rglob("*.json"))
    for path in files[:2]:
        path.write_text("{}", encoding="utf-8")
    code, _, err = call(capsys, *args, "--sparsities", "0.5")
    assert code == 0
    assert err.startswith("2 damaged in the cache, measured anew: ")
    assert "measuring 2 of 9 points" in err


@pytest.mark.parametrize("criterion", ["obd", "obs"])
def test_criteria_that_ask_the_data(
    criterion: str, args: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, err = call(capsys, *args, "--criterion", criterion, "--sparsities", "0.9", "--json")
    assert code == 0, err
    assert json.loads(text)["criterion"] == criterion


def test_a_killed_call_goes_on_where_it_was(
    args: list[object], network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models.save(pictures.network("densenet"), network)
    command = [sys.executable, "-m", "onnxcomp.cli", *(str(arg) for arg in args)]
    shares = ["--sparsities", ",".join(f"{share / 100:g}" for share in range(50, 95))]
    process = subprocess.Popen(
        [*command, *shares], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and len(list((tmp_path / "cache").rglob("*.json"))) < 5:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(list((tmp_path / "cache").rglob("*.json")))
    assert 5 <= kept < 496
    code, _, err = call(capsys, *args, *shares)
    assert code == 0
    assert f"measuring {496 - kept} of 496 points" in err


def test_a_signal_ends_in_one_line(args: list[object], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "onnxcomp.cli", *(str(arg) for arg in args)]
    shares = ["--sparsities", ",".join(f"{share / 1000:g}" for share in range(1, 1000))]
    process = subprocess.Popen([*command, *shares], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not list((tmp_path / "cache").rglob("*.json")):
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1].startswith("Interrupted; continue with: onnxcomp sensitivity")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sparsities", "0.5,1.2"), "sparsities: 1.2 is no sparsity; give shares between 0 and 1"),
        (("--sparsities", "0.5,half"), "sparsities: 'half' is no number; write them as 0.5,0.7,0.9"),
        (("--sparsities", "nan"), "sparsities: nan is no sparsity"),
        (("--criterion", "size"), "criterion is 'size': Input should be 'magnitude'"),
        (("--pattern", "4:2"), "pattern is '4:2': it keeps 4 of 2 weights"),
        (("--pattern", "2:4", "--sparsities", "0.7"), "pattern 2:4 makes 0.5 of the weights zero, not 0.7"),
        (("--exclude", "nothing*"), "no weighted layer is called nothing*"),
        (("--exclude", "*"), "m.onnx: there is no layer to prune; exclude less"),
        (("--images", "0"), "0 is not in the range x>=1"),
        (("--split", "validation"), "--split: there is no 'validation'; choose from train, test"),
        (("-o", "missing/s.json"), "missing: there is no such folder"),
        (("--plot", "missing/s.png"), "missing: there is no such folder"),
        (("-o", "m.onnx"), "m.onnx: is the input too"),
        (("-o", "s", "--plot", "s"), "s: is to hold the numbers and the picture"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_options(
    options: tuple[str, ...],
    message: str,
    args: list[object],
    refused: Refused,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused(*args, *options)


def test_other_classes(args: list[object], tmp_path: Path, refused: Refused) -> None:
    args[3] = pictures.save_npz(tmp_path / "seven.npz", classes=7)
    assert "has 7 classes, the network 10" in refused(*args)


def test_no_weighted_layer(args: list[object], network: Path, refused: Refused) -> None:
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["x"], ["p"]),
        onnx.helper.make_node("Flatten", ["p"], ["f"]),
        onnx.helper.make_node("Tile", ["f", "times"], ["t"]),
        onnx.helper.make_node("Slice", ["t", "zero", "ten", "one"], ["y"]),
    ]
    constants = {"times": [1, 4], "zero": [0], "ten": [10], "one": [1]}
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, ["N", 3, 16, 16])],
        [onnx.helper.make_tensor_value_info("y", 1, ["N", 10])],
        [onnx.numpy_helper.from_array(np.array(v, np.int64), name) for name, v in constants.items()],
    )
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), network
    )
    line = refused(*args, "--preprocess", "imagenet")
    assert "m.onnx: there is no layer to prune; give a network with weighted layers" in line


def test_weights_that_are_not_finite(args: list[object], network: Path, refused: Refused) -> None:
    model = models.load(network)
    weight = list(graphs.weights(model.graph))[1]
    weight.tensor.values = np.full_like(weight.tensor.values, np.nan)
    models.save(model, network)
    assert f"m.onnx: node {weight.node.name}: holds weights that are not finite" in refused(*args)


def test_a_file_that_is_compressed_already(args: list[object], network: Path, refused: Refused) -> None:
    model = models.load(network)
    compressed = pipeline.apply(model, recipes.parse("prune,qat"), calibration=run.Observed())
    models.save(compressed, network)
    assert "m.onnx: is pruned or quantised already; measure the network before" in refused(*args)
    models.save(finalize(compressed, get_target("ort-cpu")), network)
    assert "m.onnx: is deployable already; measure the network before onnxcomp" in refused(*args)


def test_a_network_of_another_tool_that_is_quantised(
    args: list[object], network: Path, refused: Refused
) -> None:
    model = models.load(network)
    deployed = finalize(
        pipeline.apply(model, recipes.parse("qat"), calibration=run.Observed()), get_target("ort-cpu")
    )
    proto = models.to_proto(deployed)
    del proto.metadata_props[:]
    onnx.save(proto, network)
    line = refused(*args, "--preprocess", "imagenet")
    assert "m.onnx: is pruned or quantised already" in line


def test_a_picture_without_matplotlib(
    args: list[object], tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    line = refused(*args, "--plot", tmp_path / "s.png")
    assert "the package matplotlib is not installed; run: pip install 'onnxcomp[plot]'" in line


@pytest.mark.skipif(os.name != "posix", reason="modes of files")
def test_outputs_that_cannot_be_written(args: list[object], tmp_path: Path, refused: Refused) -> None:
    output = tmp_path / "s.json"
    output.write_text("", encoding="utf-8")
    output.chmod(0o400)
    assert "s.json: cannot be written" in refused(*args, "-o", output)
    (tmp_path / "cache").write_text("", encoding="utf-8")
    assert "cannot be created" in refused(*args)
