from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxcomp import cli
from onnxcomp.deploy.targets import get_target
from onnxcomp.model import Form, from_proto, load, save
from tests import zoo
from tests.deploy.networks import compressed, images, logits, postactivation


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    path = tmp_path / "t.onnx"
    text = "prune{keep_first=false},qat,distill"
    save(compressed(from_proto(zoo.densenet(18)), text), path)
    return path


def onnxcomp(*args: object) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main([str(arg) for arg in args])
    return int(caught.value.code or 0)


def test_it_says_what_it_did(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "d.onnx"
    assert onnxcomp("finalize", trained, "-o", output, "--target", "xavier") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "for xavier: Jetson AGX Xavier, TensorRT 8.5.2"
    assert lines[1].startswith("removed ")
    assert lines[2].startswith("multiplied 10 masks in: ")
    assert lines[3] == f"  on this target {get_target('xavier').sparsity}"
    assert lines[4] == "folded 5 of 11 BatchNormalization"
    assert sorted(lines[5:8]) == [
        "  kept 1: it follows AveragePool, not a convolution",
        "  kept 1: it follows Relu, not a convolution",
        "  kept 4: it follows Concat, not a convolution",
    ]
    assert lines[8] == "Q/DQ: 11 weights (float32 weights before Q/DQ), 12 activations (int8)"
    assert lines[9] == "opset 18 -> 17"
    sizes = f"{trained.stat().st_size:,} -> {output.stat().st_size:,} bytes"
    assert lines[10] == f"wrote {output}: {sizes}"
    assert len(lines) == 11
    deployable = load(output)
    assert deployable.form is Form.DEPLOYABLE
    before = load(trained)
    batch = images(before, 4)
    expected = logits(before, batch)
    # As in tests/deploy/test_finalize.py: a few activations may move by one INT8 step.
    assert np.abs(logits(deployable, batch) - expected).max() < 0.02 * np.abs(expected).max()


def test_json_has_the_same_and_nothing_else(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "d.onnx"
    assert onnxcomp("finalize", trained, "-o", output, "--target", "ort-cpu", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["output"] == str(output)
    assert result["size_before"] == trained.stat().st_size
    assert result["size_after"] == output.stat().st_size < trained.stat().st_size / 4
    report = result["report"]
    assert (report["target"], report["opset_before"], report["opset_after"]) == ("ort-cpu", 18, 18)
    assert len(report["folds"]["folded"]) == 5
    assert report["folds"]["kept"][0] == [
        "/features/denseblock1/denselayer1/norm1/BatchNormalization",
        "it follows Relu, not a convolution",
    ]


def test_a_plain_network_is_only_folded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = tmp_path / "m.onnx", tmp_path / "d.onnx"
    onnx.save_model(postactivation(), path)
    assert onnxcomp("finalize", path, "-o", output, "--target", "orin") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "for orin: Jetson AGX Orin, TensorRT 10.3",
        "folded 3 of 3 BatchNormalization",
        "opset 17",
    ]
    assert len(lines) == 4
    assert "BatchNormalization" not in {node.op for node in load(output).graph.nodes}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--target", "xaver"], "Error: --target: there is no target xaver; did you mean xavier?\n"),
        (["--target", "orin", "missing.onnx"], "missing.onnx: there is no such file; check the path\n"),
    ],
)
def test_bad_usage_is_one_line_and_writes_nothing(
    args: list[str], message: str, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "d.onnx"
    operands = args if len(args) == 3 else [*args, str(trained)]
    assert onnxcomp("finalize", "-o", output, *operands) == 2
    captured = capsys.readouterr()
    assert captured.err.endswith(message)
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not output.exists()


def test_a_deployable_file_is_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "d.onnx"
    assert onnxcomp("finalize", trained, "-o", output, "--target", "orin") == 0
    written = output.read_bytes()
    assert onnxcomp("finalize", output, "-o", tmp_path / "e.onnx", "--target", "orin") == 2
    assert "is deployable already; finalize its compression form" in capsys.readouterr().err
    assert output.read_bytes() == written


def test_a_read_only_output_is_refused_before_any_work(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "d.onnx"
    output.write_bytes(b"keep")
    output.chmod(0o444)
    assert onnxcomp("finalize", trained, "-o", output, "--target", "orin") == 2
    assert "cannot be written" in capsys.readouterr().err
    assert output.read_bytes() == b"keep"


def test_a_dla_gets_its_scales_beside(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, beside = tmp_path / "d.onnx", [tmp_path / "d.calib", tmp_path / "d.precisions.txt"]
    assert onnxcomp("finalize", trained, "-o", output, "--target", "xavier-dla") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "for xavier-dla: DLA of the Jetson AGX Xavier, TensorRT 8.5.2"
    assert not [line for line in lines if line.startswith("Q/DQ: ")]
    assert [line for line in lines if line.startswith("scales of ")]
    assert lines[-2] == f"wrote {beside[0]} and {beside[1]}"
    assert lines[-1] == (
        f"build: trtexec --onnx={output} --useDLACore=0 --allowGPUFallback --fp16 --shapes=input:1x3x16x16"
        f' --int8 --calib={beside[0]} --precisionConstraints=prefer --layerPrecisions="$(cat {beside[1]})"'
    )
    assert beside[0].read_text().startswith("TRT-8502-EntropyCalibration2\ninput: ")
    assert beside[1].read_text().endswith(":fp16")
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op for node in load(output).graph.nodes}


def test_a_dla_runs_a_plain_network_in_fp16(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = tmp_path / "m.onnx", tmp_path / "d.onnx"
    onnx.save_model(postactivation(), path)
    assert onnxcomp("finalize", path, "-o", output, "--target", "orin-dla") == 0
    lines = capsys.readouterr().out.splitlines()
    words = "--useDLACore=0 --allowGPUFallback --fp16 --shapes=input:1x3x12x12"
    assert lines[-1] == f"build: trtexec --onnx={output} {words}"


def test_json_names_the_files_beside(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "d.onnx"
    assert onnxcomp("finalize", trained, "-o", output, "--target", "orin-dla", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["beside"] == [str(tmp_path / "d.calib"), str(tmp_path / "d.precisions.txt")]
    assert result["report"]["dla"]["scales"]["input"] > 0


def test_the_network_is_not_overwritten_by_a_file_beside(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = trained.rename(tmp_path / "d.calib")
    assert onnxcomp("finalize", network, "-o", tmp_path / "d.onnx", "--target", "orin-dla") == 2
    assert "d.calib: is the input too" in capsys.readouterr().err
