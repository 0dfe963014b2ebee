"""``onnxcomp export``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcomp import model as models
from onnxcomp.data.cifar import CLASSES
from onnxcomp.model import Form
from onnxcomp.preprocess import PREPROCESSING
from tests import run
from tests.commands.call import call
from tests.shared import SHARED, needs_shared

SMALL = ("export", "densenet-bc-40-12", "--input-size", 8, "--num-classes", 10)


def test_writes_a_network_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    code, out, err = call(capsys, *SMALL, "-o", path)
    assert (code, err) == (0, "")
    assert "densenet-bc-40-12, stem cifar" in out
    assert "176,170" in out
    assert "random, seed 0" in out
    onnx.checker.check_model(path, full_check=True)
    network = models.load(path)
    assert network.form is Form.INFERENCE
    assert network.preprocessing == PREPROCESSING["cifar10"]
    assert network.classes == ()
    assert run.logits(network, run.images(network, 2)).shape == (2, 10)


def test_what_it_prints_is_plain_where_there_is_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    path = tmp_path / "m.onnx"
    code, out, err = call(capsys, *SMALL, "-o", path, "--classes", "cifar10")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        str(path),
        "property     value",
        "network      densenet-bc-40-12, stem cifar",
        "input        Nx3x8x8",
        "classes      10",
        f"class names  {', '.join(CLASSES)}",
        "parameters   176,170",
        "weights      random, seed 0",
        "mean         125.3, 123, 113.9",
        "deviation    63, 62.1, 66.7",
        f"file size    {path.stat().st_size / 1e3:.1f} kB",
    ]


def test_json_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    code, out, err = call(capsys, *SMALL, "-o", path, "--json", "--seed", 3, "--classes", "cifar10")
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "name": "densenet-bc-40-12",
        "output": str(path),
        "stem": "cifar",
        "num_classes": 10,
        "input_size": 8,
        "parameters": 176_170,
        "folded": 0,
        "bytes": path.stat().st_size,
        "weights": None,
        "seed": 3,
        "preprocessing": {"mean": [125.3, 123.0, 113.9], "std": [63.0, 62.1, 66.7]},
        "classes": list(CLASSES),
    }


def test_the_same_command_writes_the_same_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / name for name in ("a.onnx", "b.onnx", "c.onnx")]
    for path, seed in zip(paths, (4, 4, 5), strict=True):
        assert call(capsys, *SMALL, "-o", path, "--seed", seed)[0] == 0
    first, again, other = (path.read_bytes() for path in paths)
    assert first == again != other


def test_options_reach_the_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.onnx"
    options = ("--stem", "imagenet", "--classes", "cat, dog", "--input-size", 40)
    assert call(capsys, "export", "densenet-bc-40-12", "-o", path, *options)[0] == 0
    network = models.load(path)
    assert network.image_shape == (3, 40, 40)
    assert network.classes == ("cat", "dog")
    assert network.num_classes == 2
    assert network.preprocessing == PREPROCESSING["imagenet"]
    assert call(capsys, *SMALL, "-o", path, "--preprocess", "1,2,3/4,5,6")[0] == 0
    assert models.load(path).preprocessing == models.Preprocessing((1, 2, 3), (4, 5, 6))


def test_fold_bn_keeps_the_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """To 1e-5: folding rounds the weights once."""
    plain, folded = tmp_path / "plain.onnx", tmp_path / "folded.onnx"
    options = ("resnet18", "--input-size", 32, "--num-classes", 3)
    assert call(capsys, "export", *options, "-o", plain)[0] == 0
    code, out, _ = call(capsys, "export", *options, "-o", folded, "--fold-bn")
    assert code == 0
    assert "folded      20 BatchNormalization" in out
    networks = [models.load(path) for path in (plain, folded)]
    counts = [sum(node.op == "BatchNormalization" for node in n.graph.nodes) for n in networks]
    assert counts == [20, 0]
    images = run.images(networks[0], 2)
    answers = [run.logits(network, images) for network in networks]
    np.testing.assert_allclose(answers[1], answers[0], rtol=0, atol=1e-5 * np.abs(answers[0]).max())


@needs_shared
def test_trained_densenet201(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """torchvision's logits to 1e-4, from the file that export wrote."""
    path = tmp_path / "m.onnx"
    weights = SHARED / "models" / "densenet201-cifar10.safetensors"
    options = ("--classes", "cifar10", "--input-size", 32, "--preprocess", "cifar10", "--weights", weights)
    code, out, err = call(capsys, "export", "densenet201", "-o", path, *options, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["weights"] == str(weights)
    assert json.loads(out)["seed"] is None
    network = models.load(path)
    with np.load(SHARED / "models" / "reference.npz") as reference:
        inputs, raw, expected = reference["inputs"], reference["raw"], reference["logits"]
    np.testing.assert_allclose(
        run.outputs(network, inputs, optimize=True)["logits"], expected, rtol=0, atol=1e-4
    )
    # The file's own preprocessing gives those inputs.
    assert network.preprocessing is not None
    mean, std = (np.reshape(v, (3, 1, 1)) for v in (network.preprocessing.mean, network.preprocessing.std))
    np.testing.assert_allclose((raw - mean) / std, inputs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            ("--input-size", 3),
            "densenet-bc-40-12: an input of 3x3 is too small (stem cifar); use an input size of at least 4",
        ),
        (("--num-classes", 0), "the number of classes is 0; choose from 1 to 100000"),
        (("--seed", -1), "the seed is -1; choose from 0 to 9223372036854775807"),
        (("--classes", "cat,dog"), "2 class names for 10 classes; give one name for each class"),
        (("--classes", "a,,b"), "class 1 of 'a,,b' has no name; write cat,dog,..."),
        (
            ("--preprocess", "1/2"),
            "the preprocessing has 1 channels, the network 3; give a mean and a deviation for each channel",
        ),
        (
            ("--preprocess", "x"),
            "'x' is no preprocessing: not a name or mean/deviation; use cifar10, imagenet or, in units of"
            " 0..255, for example 125.3,123,113.9/63,62.1,66.7",
        ),
        (("--weights", "none.pth"), "none.pth: there is no such file; check the path"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[object, ...], line: str
) -> None:
    result = call(capsys, *SMALL, "-o", tmp_path / "m.onnx", *options)
    assert result == (2, "", f"Error: {line}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "start"),
    [
        (("densenet20", "-o", "m.onnx"), "Error: NAME: there is no 'densenet20'; did you mean densenet201?"),
        (("densenet201",), "Error: Missing option '-o' / '--output'"),
        (
            ("densenet201", "-o", "m.onnx", "--stem", "x"),
            "Error: --stem: there is no 'x'; choose from imagenet, cifar",
        ),
    ],
)
def test_bad_usage_is_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], start: str
) -> None:
    code, out, err = call(capsys, "export", *arguments)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(start)


def test_a_read_only_output_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"mine")
    path.chmod(0o444)
    monkeypatch.setattr("onnxcomp.models.build", None)  # not reached
    code, out, err = call(capsys, *SMALL, "-o", path)
    assert (code, out) == (2, "")
    assert err == f"Error: {path}: cannot be written; choose another output or change its mode\n"
    assert path.read_bytes() == b"mine"
    missing = tmp_path / "no" / "m.onnx"
    code, _, err = call(capsys, *SMALL, "-o", missing)
    assert (code, err.count("\n")) == (2, 1)
    assert "there is no such folder" in err


def test_the_weights_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"mine")
    result = call(capsys, *SMALL, "-o", path, "--weights", path)
    assert result == (2, "", f"Error: {path}: would overwrite the weights; choose another output\n")
    assert path.read_bytes() == b"mine"
