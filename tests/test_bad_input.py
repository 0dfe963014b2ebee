"""Bad input: one line that says what, where and how to mend it, exit code 2, nothing left behind."""

from __future__ import annotations

import importlib.metadata
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxcomp import model as models
from onnxcomp import pipeline
from onnxcomp import recipe as recipes
from tests import zoo
from tests.commands.call import call
from tests.data.pictures import encoded, two_classes, write_folder

Refused = Callable[..., str]
ASSUMED = "does not say how its images are normalised: taking"


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """Runs a command that must be refused; gives its one line. The output ``out.onnx`` must not appear."""

    def run(*args: object) -> str:
        before = set(tmp_path.rglob("*"))
        code, out, err = call(capsys, *args)
        lines = [line for line in err.splitlines() if line and ASSUMED not in line]
        assert (code, out) == (2, ""), err
        assert len(lines) == 1, err
        assert lines[0].startswith("Error: ")
        assert set(tmp_path.rglob("*")) == before, "something was left behind"
        return lines[0]

    return run


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.resnet(size=8), path)
    return path


def test_not_onnx(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("hello", encoding="utf-8")
    line = refused("apply", "prune", path, "-o", tmp_path / "out.onnx")
    assert "text.onnx: not an ONNX file" in line


def test_truncated(refused: Refused, tmp_path: Path, network: Path) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes(network.read_bytes()[:5000])
    line = refused("apply", "prune", path, "-o", tmp_path / "out.onnx")
    assert "half.onnx" in line
    assert "export the model again" in line


def test_old_opset(refused: Refused, tmp_path: Path) -> None:
    proto = zoo.resnet()
    proto.opset_import[0].version = 11
    path = tmp_path / "old.onnx"
    onnx.save(proto, path)
    line = refused("apply", "prune", path, "-o", tmp_path / "out.onnx")
    assert "old.onnx: opset 11 is outside 13 to 21; export again with opset 17" in line


def test_dynamic_height_and_width(refused: Refused, tmp_path: Path) -> None:
    proto = zoo.resnet()
    for index, name in ((2, "height"), (3, "width")):
        proto.graph.input[0].type.tensor_type.shape.dim[index].dim_param = name
    path = tmp_path / "dynamic.onnx"
    onnx.save(proto, path)
    line = refused("inspect", path)
    assert "the height and width of input input are dynamic" in line
    assert "make_dynamic_shape_fixed" in line


def test_an_operator_without_gradient_is_named(refused: Refused, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Floor", ["c"], ["f"], name="the_floor"),
        helper.make_node("GlobalAveragePool", ["f"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["y"], name="flat"),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
        [onnx.numpy_helper.from_array(np.ones((10, 3, 3, 3), np.float32), "w")],
    )
    path = tmp_path / "floor.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    line = refused(
        *("train", path, "-o", tmp_path / "out.onnx", "--data", "digits", "--epochs", 1),
        *("--run-dir", tmp_path / "run"),
    )
    assert "the_floor" in line
    assert "Floor" in line


def test_a_pass_applied_twice(refused: Refused, tmp_path: Path, network: Path) -> None:
    line = refused("apply", "prune,prune", network, "-o", tmp_path / "out.onnx")
    assert "the pass prune is applied twice" in line
    compressed = tmp_path / "c.onnx"
    models.save(pipeline.apply(models.load(network), recipes.parse("prune")), compressed)
    line = refused("apply", "prune", compressed, "-o", tmp_path / "out.onnx")
    assert "the pass prune is applied twice" in line


def test_qat_without_data(refused: Refused, tmp_path: Path, network: Path) -> None:
    line = refused("apply", "qat", network, "-o", tmp_path / "out.onnx")
    assert line == "Error: qat: needs real images to calibrate its scales; give --data"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["prnue"], "unknown pass prnue; did you mean prune?"),
        (["prune", "--set", "prune.sparsty=0.5"], "unknown option sparsty; did you mean sparsity?"),
        (["prune", "--set", "prune.sparsity=1.2"], "sparsity is 1.2: Input should be less than 1"),
        (["prune{sparsity=-1}"], "sparsity is -1"),
        (["distill,prune"], "prune cannot follow distill; write prune before distill"),
        (["prune", "--ouput", "x"], "there is no option --ouput; did you mean --output?"),
    ],
)
def test_recipes(refused: Refused, tmp_path: Path, network: Path, args: list[str], message: str) -> None:
    assert message in refused("apply", args[0], network, *args[1:], "-o", tmp_path / "out.onnx")


def test_a_recipe_file_with_an_unknown_key(refused: Refused, tmp_path: Path, network: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("passes: [prune]\nspeed: fast\n", encoding="utf-8")
    line = refused("apply", "--recipe", path, network, "-o", tmp_path / "out.onnx")
    assert "r.yaml: speed: Extra inputs are not permitted" in line


def test_a_yaml_that_would_run_code(refused: Refused, tmp_path: Path, network: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"passes: !!python/object/apply:os.mkdir ['{tmp_path}/owned']\n", encoding="utf-8")
    assert "is no YAML file" in refused("apply", "--recipe", path, network, "-o", tmp_path / "out.onnx")
    assert not (tmp_path / "owned").exists()


def test_an_empty_class(refused: Refused, tmp_path: Path, network: Path) -> None:
    folder = write_folder(
        tmp_path / "images", {**two_classes(), "train/emu/": b"", "test/emu/1.png": encoded()}
    )
    line = refused("evaluate", network, "--data", folder)
    assert "emu" in line


def test_a_broken_jpeg(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.resnet(size=8, classes=2), path)
    broken = encoded(size=(64, 64), kind="JPEG")[:400]
    folder = write_folder(tmp_path / "images", {**two_classes(), "test/cat/9.jpg": broken})
    line = refused("evaluate", path, "--data", folder)
    assert "9.jpg" in line


def test_another_number_of_classes(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(zoo.resnet(size=8, classes=7), path)
    line = refused("evaluate", path, "--data", "digits")
    assert "has 10 classes, the network 7" in line
    line = refused("apply", "qat", path, "-o", tmp_path / "out.onnx", "--data", "digits")
    assert "has 10 classes, the network 7" in line


def test_an_output_that_cannot_be_written(refused: Refused, tmp_path: Path, network: Path) -> None:
    kept = tmp_path / "kept.onnx"
    kept.write_bytes(b"mine")
    kept.chmod(0o444)
    assert "kept.onnx: cannot be written" in refused("apply", "prune", network, "-o", kept)
    assert kept.read_bytes() == b"mine"
    assert "no such folder" in refused("apply", "prune", network, "-o", tmp_path / "none" / "out.onnx")
    assert "is a folder" in refused("apply", "prune", network, "-o", tmp_path)


@pytest.mark.parametrize(
    ("installed", "message"),
    [
        ([], "ONNX Runtime is not installed; run: pip install"),
        (
            ["onnxruntime", "onnxruntime-training-cpu"],
            "onnxruntime and onnxruntime-training-cpu are both installed",
        ),
    ],
)
def test_runtimes(
    refused: Refused,
    network: Path,
    monkeypatch: pytest.MonkeyPatch,
    installed: list[str],
    message: str,
) -> None:
    def distribution(name: str) -> object:
        if name in installed:
            return object()
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    assert message in refused("evaluate", network, "--data", "digits")


def test_a_checkpoint_of_another_model(
    capsys: pytest.CaptureFixture[str], refused: Refused, tmp_path: Path, network: Path
) -> None:
    train = ("--data", "digits", "--epochs", 0.1, "--run-dir", tmp_path / "run", "--threads", 1)
    code, _, err = call(capsys, "train", network, "-o", tmp_path / "t.onnx", *train)
    assert code == 0, err
    other = tmp_path / "other.onnx"
    onnx.save(zoo.resnet(size=8, seed=1), other)
    line = refused("train", other, "-o", tmp_path / "out.onnx", *train, "--resume")
    assert "another model" in line
    assert "is not empty; add --resume" in refused("train", network, "-o", tmp_path / "out.onnx", *train)


def test_external_data_stays_in_its_folder(refused: Refused, tmp_path: Path) -> None:
    outside = tmp_path / "outside.bin"
    proto = zoo.resnet(size=8)
    path = tmp_path / "inner" / "m.onnx"
    path.parent.mkdir()
    onnx.save_model(proto, path, save_as_external_data=True, location="data.bin", size_threshold=0)
    os.replace(path.parent / "data.bin", outside)
    proto = onnx.load_model(path, load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../outside.bin"
    path.write_bytes(proto.SerializeToString())
    assert "outside the model's folder" in refused("inspect", path)
