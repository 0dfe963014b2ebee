from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from onnxcomp.data import open_data
from onnxcomp.model import load
from onnxcomp.parity.accuracy import evaluate_accuracy
from onnxcomp.preprocess import ensure_preprocessing
from tests import pictures, zoo
from tests.commands.call import call


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.densenet(), path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return pictures.save_npz(tmp_path / "pictures.npz")


def test_the_table_and_the_json_say_the_same(
    network: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("evaluate", network, "--data", data, "--threads", 1, "--latency-runs", 5)
    code, out, err = call(capsys, *args)
    assert code == 0
    assert err.splitlines()[-1].startswith("evaluating: 30/30 in ")
    code, text, _ = call(capsys, *args, "--json")
    assert code == 0
    found = json.loads(text)
    rows = dict(line.split("  ", 1) for line in out.splitlines()[1:])
    values = {name: value.strip() for name, value in rows.items()}
    assert out.splitlines()[0] == f"{network} on pictures.npz"
    assert values["top-1"] == f"{found['accuracy']['top1']:.2f} %"
    assert values["top-5"] == f"{found['accuracy']['top5']:.2f} %"
    assert values["images"] == "30"
    assert values["parameters"] == f"{found['parameters']['total']:,}"
    assert "latency p99 (5 runs)" in values


def test_a_limit_takes_some_of_the_images(
    network: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text, _ = call(
        capsys, "evaluate", network, "--data", data, "--limit", 12, "--latency-runs", 0, "--json"
    )
    found = json.loads(text)
    assert code == 0
    assert found["accuracy"]["count"] == 12
    assert found["latency"] is None


def test_what_the_file_does_not_say_comes_from_the_data(
    network: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ("evaluate", network, "--data", data, "--latency-runs", 0, "--json")
    _, text, _ = call(capsys, *args)
    model, data_set = load(network), open_data(str(data))
    ensure_preprocessing(model, data_set)
    expected = evaluate_accuracy(model, data_set.test, threads=1)
    assert json.loads(text)["accuracy"]["top1"] == expected.top1


def test_another_number_of_classes_is_exit_code_2(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = pictures.save_npz(tmp_path / "seven.npz", classes=7)
    code, out, err = call(capsys, "evaluate", network, "--data", data)
    assert (code, out) == (2, "")
    assert "7 classes" in err
    assert err.count("\n") == 1


def test_data_must_be_named(network: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "evaluate", network)
    assert code == 2
    assert "--data" in err
