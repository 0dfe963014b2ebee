from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp import model as models
from onnxcomp import recipe as recipes
from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.passes.qat import partial
from tests import pictures, run
from tests.commands.call import call
from tests.commands.test_sensitivity import Refused, data, network, refused
from tests.passes.qat import disaster

__all__ = ["data", "network", "refused"]  # fixtures


@pytest.fixture
def args(network: Path, data: Path, tmp_path: Path) -> list[object]:
    common = ["--data", data, "--cache", tmp_path / "cache", "--threads", 1, "--pass", "qat"]
    return ["sensitivity", network, *common]


def quantized(path: Path, text: str = "qat") -> models.Model:
    """What the file holds becomes INT8."""
    made = pipeline.apply(models.load(path), recipes.parse(text), calibration=run.Observed())
    models.save(made, path)
    return made


def test_file_picture_table_and_json(
    args: list[object], network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, plot = tmp_path / "s.json", tmp_path / "s.png"
    code, out, err = call(capsys, *args, "-o", output, "--plot", plot)
    assert code == 0, err
    assert err.splitlines()[-1].startswith("measuring 19 of 19 points, %: 100/100 in ")
    found = json.loads(output.read_text(encoding="utf-8"))
    names = list(dict.fromkeys(w.name for w in graphs.weights(models.load(network).graph)))
    assert list(found["layers"]) == names
    assert found["recipe"] == "qat"
    assert plot.read_bytes().startswith(b"\x89PNG")
    title, columns, *rows, between, last = out.splitlines()
    assert title.startswith(
        f"{network}: SQNR of the logits, one layer at a time (30 training images of pictures.npz; float "
    )
    assert columns.split()[:2] == ["most", "sensitive"]
    assert [row.split()[0] for row in rows] == found["ranking"]
    decibels = [float(row.split()[1]) for row in rows]
    assert decibels == sorted(decibels)
    assert between.startswith("float layers, pairs between them alone: SQNR ")
    assert last == f"wrote {output}"
    code, text, err = call(capsys, *args, "--json")
    assert code == 0
    assert json.loads(text) == found
    assert err.splitlines()[-1].startswith("all 19 points are known: ")


def test_a_quantised_network_is_measured_as_it_is(
    args: list[object], network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = quantized(network, "qat{exclude=classifier*}")
    code, text, err = call(capsys, *args, "--json")
    assert code == 0, err
    found = json.loads(text)
    assert found["recipe"] == 'qat{exclude=["classifier*"]}'
    assert list(found["layers"]) == list(partial.layers(made))


def test_options_of_the_pass_and_a_target(
    args: list[object], network: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, err = call(capsys, *args, "--json", "--set", "qat.weight_bits=4")
    assert code == 0, err
    four = json.loads(text)
    assert four["recipe"] == "qat{weight_bits=4}"
    code, text, err = call(capsys, *args, "--json", "--target", "ort-cpu")
    assert code == 0, err
    cpu = json.loads(text)
    assert four["int8"]["sqnr"] < cpu["int8"]["sqnr"] - 5
    assert four["model"] != cpu["model"]


def _let_agree(data: Path, model: models.Model) -> None:
    """Label the pictures as the network does."""
    images = pictures.pictures(30)
    labels = run.logits(model, pictures.normalised(images).astype(np.float32)).argmax(1)
    pixels = images.load(np.arange(30), (16, 16))
    labels[:10] = np.arange(10)  # so that there are ten classes
    np.savez(data, x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)


@pytest.mark.parametrize("first", ["float", "quantised"])
def test_what_auto_would_leave_float(
    first: str, args: list[object], network: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disastrous layer; the file says the same as the table."""
    model = disaster.network()
    model.preprocessing = pictures.NORMAL
    models.save(model, network)
    _let_agree(data, model)
    if first == "quantised":
        quantized(network)
    code, out, err = call(capsys, *args, "--max-drop", "20.5", "--images", 10)
    assert code == 0, err
    title, *notes = [line.strip() for line in out.splitlines()[-5:]]
    assert title == "qat.float_layers=auto qat.max_drop=20.5:"
    assert notes[0].startswith("all 7 layers in INT8: top-1 loses ")
    assert notes[1] == f"float_layers=auto leaves 1 of 7 float: {disaster.VICTIM}"
    code, text, err = call(capsys, *args, "--max-drop", "20.5", "--images", 10, "--json")
    assert json.loads(text)["auto"] == {
        "max_drop": 20.5,
        "float_layers": [disaster.VICTIM],
        "notes": notes,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--sparsities", "0.5"), "--sparsities: is an option of --pass prune; leave it out with --pass qat"),
        (("--criterion", "obd"), "--criterion: is an option of --pass prune; leave it out with --pass qat"),
        (("--pattern", "2:4"), "--pattern: is an option of --pass prune"),
        (("--exclude", "x*"), "--exclude: is an option of --pass prune"),
        (("--set", "qat.sparsity=1"), "qat: unknown option sparsity"),
        (("--set", "prune.sparsity=0.9"), "--set: the recipe has no pass prune"),
        (("--set", "qat.exclude=nothing*"), "exclude names nothing*, which is no weighted layer"),
        (("--set", "qat.exclude=*"), "there is no layer to quantise"),
        (("--target", "tpu"), "there is no target tpu"),
        (("--max-drop", "-1"), "qat: max_drop is -1; give points of top-1, at least 0"),
        (("--max-drop", "nan"), "qat: max_drop is nan; give points of top-1, at least 0"),
        (("--max-drop", "little"), "'little' is not a valid float"),
        (("--calibration-images", "0"), "0 is not in the range x>=1"),
        (("--plot", "missing/s.png"), "missing: there is no such folder"),
        (("-o", "m.onnx"), "m.onnx: is the input too"),
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


@pytest.mark.parametrize(
    ("option", "value"),
    [("--set", "qat.first=false"), ("--target", "orin"), ("--calibration-images", "5"), ("--max-drop", "1")],
)
def test_options_of_qat_without_it(option: str, value: str, args: list[object], refused: Refused) -> None:
    line = refused(*args[:-2], option, value)
    assert f"{option}: is an option of --pass qat; leave it out with --pass prune" in line


def test_options_of_a_float_network_for_a_quantised_one(
    args: list[object], network: Path, refused: Refused
) -> None:
    quantized(network)
    for option in (("--set", "qat.first=false"), ("--target", "orin")):
        line = refused(*args, *option)
        assert "m.onnx: is quantised already; leave out --set and --target" in line


def test_networks_that_cannot_be_measured(args: list[object], network: Path, refused: Refused) -> None:
    deployed = finalize(quantized(network), get_target("xavier"))
    models.save(deployed, network)
    assert "m.onnx: is deployable already; measure its compression form" in refused(*args)
    proto = models.to_proto(deployed)
    del proto.metadata_props[:]
    onnx.save(proto, network)
    line = refused(*args, "--preprocess", "imagenet")
    assert "m.onnx: another tool has quantised it: node " in line
    assert line.endswith("more; start from the float32 network\n")


def test_a_picture_without_matplotlib(
    args: list[object], tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    line = refused(*args, "--plot", tmp_path / "s.png")
    assert "the package matplotlib is not installed; run: pip install 'onnxcomp[plot]'" in line
