"""``onnxcomp build`` with a stand-in for trtexec on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from onnxcomp import extras
from onnxcomp.errors import MissingPackageError
from tests import zoo
from tests.commands.call import call
from tests.deploy.engines.networks import quantised
from tests.deploy.trtexec import installed

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    quantised(tmp_path / "d.onnx")
    installed.install(tmp_path, version="8.5.2")
    return tmp_path


def build(capsys: Capture, *words: object, target: str = "xavier") -> tuple[int, str, str]:
    return call(
        capsys, "build", "d.onnx", "-o", "d.plan", "--target", target, "--trtexec", "./trtexec", *words
    )


def failing_node() -> str:
    return [node.name for node in onnx.load("d.onnx").graph.node if node.op_type == "Conv"][1]


def test_writes_an_engine_and_what_it_is_of(capsys: Capture, folder: Path) -> None:
    code, out, err = build(capsys)
    assert code == 0, err
    assert "Xavier, TensorRT 8.5.2\n" in out
    assert f"wrote d.plan: {(folder / 'd.plan').stat().st_size:,} bytes, built in" in out
    assert "TensorRT tries kernels for each layer\n" in err
    record = json.loads((folder / "d.plan.json").read_text())
    assert record["onnx"] == "d.onnx"
    assert record["options"]["fp16"] is True
    assert record["options"]["sparse"] is False  # a Xavier has no 2:4 kernels
    assert set(json.loads(build(capsys, "--json")[1])) == {"output", "bytes", "record"}


def test_a_layer_without_a_kernel_is_reported(capsys: Capture, folder: Path) -> None:
    installed.install(folder, fault="no_implementation", node=failing_node())
    code, out, err = build(capsys)
    assert code == 0, err
    removed = json.loads((folder / "d.plan.json").read_text())["dequantised"]
    assert f"{len(removed)} Q and DQ nodes removed: {', '.join(removed)}" in out
    assert "there is no INT8 kernel for " in err
    assert failing_node() in err


def test_the_log_is_shown_on_demand(capsys: Capture) -> None:
    assert "&&&& RUNNING TensorRT.trtexec [TensorRT v8502]" in build(capsys, "--verbose")[2]


BAD = {
    "target": (("--target", "xavierr"), "--target: there is no target xavierr; did you mean xavier?"),
    "cpu": (("--target", "ort-cpu"), "--target: ort-cpu has no TensorRT"),
    "dla": (("--dla-core", "1"), "--dla-core: xavier is no DLA"),
    "version": (("--target", "orin"), "this machine: has TensorRT 8.5.2, and orin is for 10.3 or later"),
    "shape": (("--shape", "input"), "--shape: 'input' is no shape; for example input:1x3x224x224"),
    "no images": (("--shape", "input:0x3x8x8"), "--shape: 'input:0x3x8x8' is no shape"),
    "twice": (("--shape", "input:1x3x8x8", "--shape", "input:2x3x8x8"), "--shape: input is given twice"),
    "batch": (("--shape", "input:2x3x8x8", "--batch", "4"), "--shape: input:2x3x8x8 is not for a batch of 4"),
    "input": (("--shape", "x:1x3x8x8"), "d.onnx: there is no input x; it has input"),
    "size": (("--shape", "input:1x3x9x9"), "d.onnx: input input is ?x3x8x8, not 1x3x9x9"),
    "trtexec": (("--trtexec", "./none"), "this machine: there is no ./none"),
    "other program": (("--trtexec", "/bin/true"), "this machine: /bin/true: does not say its version"),
    "level": (("--optimization-level", "5"), "TensorRT 8.5.2 has no optimization levels"),
}


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["", "dry"])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line(name: str, dry: tuple[str, ...], capsys: Capture, folder: Path) -> None:
    words, line = BAD[name]
    code, out, err = build(capsys, *words, "--no-lint", *dry)
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith(f"Error: {line}")
    assert not (folder / "d.plan").exists()
    assert not (folder / "d.plan.json").exists()


def test_an_old_tensorrt_is_refused(capsys: Capture, folder: Path) -> None:
    script = folder / "trtexec"
    script.write_text("#!/bin/sh\necho '&&&& RUNNING TensorRT.trtexec [TensorRT v7103] # trtexec --help'\n")
    code, _, err = build(capsys)
    assert code == 2
    assert "this machine: ./trtexec: is of TensorRT 7.1.3, too old for onnxcomp" in err


def test_a_dla_without_a_calibration_cache_is_told(capsys: Capture, folder: Path) -> None:
    onnx.save(zoo.resnet(size=8), folder / "d.onnx")
    code, _, err = build(capsys, "--no-lint", target="xavier-dla")
    assert code == 0
    assert "there is no calibration cache beside d.onnx: nothing will be in INT8\n" in err


def test_a_missing_library_is_named(capsys: Capture, folder: Path) -> None:
    line = "trtexec: error while loading shared libraries: libnvinfer.so.8: cannot open shared object file"
    (folder / "trtexec").write_text(f"#!/bin/sh\necho '{line}' >&2\nexit 127\n")
    code, _, err = build(capsys)
    assert code == 2
    assert err.endswith(
        "Error: this machine: ./trtexec: a library is missing: libnvinfer.so.8; "
        "install TensorRT there whole (JetPack: nvidia-jetpack)\n"
    )


def test_what_lint_knows_to_fail_is_not_tried(capsys: Capture, folder: Path) -> None:
    onnx.save(zoo.resnet(size=8, opset=18), folder / "d.onnx")
    code, _, err = build(capsys)
    assert code == 2
    assert "opset" in err
    assert "see onnxcomp lint --target xavier, or build with --no-lint" in err
    assert build(capsys, "--no-lint")[0] == 0


def test_without_tensorrt_it_says_what_to_do(capsys: Capture, folder: Path) -> None:
    code, _, err = call(capsys, "build", "d.onnx", "-o", "d.plan", "--target", "xavier")
    assert code == 2
    line = "Error: TensorRT is not installed on this machine; give --host user@jetson, or --trtexec PATH\n"
    assert err.endswith(line)


def test_the_python_package_goes_first(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to its import, which is all that runs without a GPU."""
    asked = []

    def find_spec(name: str) -> object:
        asked.append(name)
        return object()

    def missing(module: str, extra: str) -> None:
        raise MissingPackageError("has no GPU", where=module)

    monkeypatch.setattr("importlib.util.find_spec", find_spec)

    monkeypatch.setattr(extras, "optional", missing)
    code, _, err = call(capsys, "build", "d.onnx", "-o", "d.plan", "--target", "xavier")
    assert (code, err) == (2, "Error: tensorrt: has no GPU\n")
    assert asked == ["tensorrt"]
