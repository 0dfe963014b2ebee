"""``--calibration-cache`` and bad images of calibration, as a user meets them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onnxcomp import model as models
from onnxcomp.calibration import ImageCalibration
from tests import zoo
from tests.commands.call import call

SIZE = 16
PREPROCESS = ("--preprocess", "127,127,127/64,64,64", "--threads", 1)


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.resnet(), path)
    return path


def data(path: Path, pixels: np.ndarray | None = None) -> Path:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, SIZE, SIZE, 3), dtype=np.uint8) if pixels is None else pixels
    labels = np.arange(len(images)) % 10
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels)
    return path


def refused(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    code, out, err = call(capsys, *args)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    return err


def test_a_second_apply_runs_no_image(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, images = tmp_path / "cache", data(tmp_path / "d.npz")
    runs = []
    run = ImageCalibration._parts
    monkeypatch.setattr(ImageCalibration, "_parts", lambda *args: runs.append(args) or run(*args))  # type: ignore[func-returns-value]
    written = []
    for name in ("a.onnx", "b.onnx"):
        args = ("apply", "qat", network, "-o", tmp_path / name, "--data", images, *PREPROCESS)
        code, _, err = call(capsys, *args, "--calibration-cache", cache)
        assert (code, err) == (0, "")
        written.append((tmp_path / name).read_bytes())
        assert len(runs) == 1
    assert written[0] == written[1]

    (path,) = cache.rglob("*.npz")
    path.write_bytes(b"damaged")
    code, _, err = call(capsys, *args, "--calibration-cache", cache)
    assert (code, err) == (0, f"{path}: damaged, measured anew\n")
    assert len(runs) == 2
    assert (tmp_path / "b.onnx").read_bytes() == written[0]


@pytest.mark.parametrize("command", ["apply", "compress"])
def test_a_folder_that_cannot_be_written_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path, command: str
) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "locked").mkdir(mode=0o555)
    places = {
        "apply": ("-o", tmp_path / "c.onnx"),
        "compress": ("--run-dir", tmp_path / "run", "--target", "ort-cpu", "--epochs", 1),
    }
    args = (command, "qat", network, *places[command], "--data", data(tmp_path / "d.npz"), *PREPROCESS)
    for name, message in (
        ("file", "is not a folder"),
        ("locked", "cannot be written"),
        ("none/cache", "there is no such folder"),
    ):
        assert message in refused(capsys, *args, "--calibration-cache", tmp_path / name)
    assert not (tmp_path / "c.onnx").exists()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.random.default_rng(0).random((40, SIZE, SIZE, 3)), "of type float64, not uint8 in 0..255"),
        (np.zeros((40, 3, SIZE, SIZE), np.uint8), "of shape (40, 3, 16, 16), not (N, H, W, 3) or (N, H, W)"),
        (np.zeros((40, SIZE, SIZE, 4), np.uint8), "of shape (40, 16, 16, 4), not (N, H, W, 3) or (N, H, W)"),
        (np.zeros((0, SIZE, SIZE, 3), np.uint8), "x_train: holds no image"),
        (
            np.random.default_rng(0).integers(0, 2, (40, SIZE, SIZE, 3), dtype=np.uint8),
            "data d.npz: the images hold nothing but 0 and 1, where 0 to 255 is expected",
        ),
    ],
    ids=["float", "channels first", "alpha", "empty", "0 and 1"],
)
def test_images_of_another_kind_are_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path, images: np.ndarray, message: str
) -> None:
    args = ("apply", "qat", network, "-o", tmp_path / "c.onnx", *PREPROCESS)
    assert message in refused(capsys, *args, "--data", data(tmp_path / "d.npz", images))
    assert not (tmp_path / "c.onnx").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_is_not_finite_inside_is_named_by_its_tensor(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path, value: float
) -> None:
    proto = onnx.load(network)
    bias = next(one for one in proto.graph.initializer if len(one.dims) == 1)
    bias.CopyFrom(numpy_helper.from_array(np.full(bias.dims, value, np.float32), bias.name))
    onnx.save(proto, network)
    args = ("apply", "qat", network, "-o", tmp_path / "c.onnx", *PREPROCESS)
    line = refused(capsys, *args, "--data", data(tmp_path / "d.npz"))
    assert "calibration: activation " in line
    assert "is not finite" in line
    assert not (tmp_path / "c.onnx").exists()


def test_activations_that_are_always_zero_work_and_are_noted(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, network: Path
) -> None:
    model = models.load(network)
    relu = next(node for node in model.graph.nodes if node.op == "Relu")
    bias = relu.inputs[0].inputs[0].inputs[2]
    bias.values = np.full(bias.shape, -1e6, np.float32)
    models.save(model, network)
    args = ("apply", "qat", network, "-o", tmp_path / "c.onnx", *PREPROCESS)
    code, out, _ = call(capsys, *args, "--data", data(tmp_path / "d.npz"))
    assert code == 0
    assert "always 0 on all images, scale 1: " in out
    assert relu.outputs[0].name in out
    scale = models.load(tmp_path / "c.onnx").constants()[f"{relu.outputs[0].name}.scale"]
    assert scale.values == 1
