from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.call import call
from tests.deploy.lint.networks import good


def test_nothing_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = good().save(tmp_path)
    code, out, err = call(capsys, "lint", path, "--target", "xavier")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == f"{path} for xavier: Jetson AGX Xavier, TensorRT 8.5.2"
    assert lines[1].startswith("ONNX Runtime ")
    assert lines[2:] == ["INT8: 5 of 5 layers with weights", "0 errors, 0 warnings"]


def test_errors_are_a_table_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = good()
    for name in ("relu1.q", "relu1.dq", "relu2.q", "relu2.dq"):
        del net.nodes[name].input[2]
    path = net.save(tmp_path)
    code, out, err = call(capsys, "lint", path, "--target", "xavier")
    lines = out.splitlines()
    assert (code, err) == (1, "")
    assert lines[0] == f"{path} for xavier: Jetson AGX Xavier, TensorRT 8.5.2"
    assert lines[1].split() == ["rule", "severity", "nodes", "what", "where"]
    assert lines[2].split(maxsplit=3) == [
        *("qdq-inputs", "error", "2"),
        "QuantizeLinear has 2 inputs    relu1.q, relu2.q",
    ]
    assert lines[4].startswith("qdq-inputs: give each QuantizeLinear")
    assert lines[5].startswith("  why: ")
    assert lines[-1] == "4 errors, 0 warnings"


def test_warnings_alone_exit_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = good()
    net.constant("relu3.scale", 0.3)
    code, out, _ = call(capsys, "lint", net.save(tmp_path), "--target", "orin")
    # Its weights are float32 in front of Q/DQ, which TensorRT 10 takes too.
    assert code == 0
    assert out.splitlines()[-1] == "0 errors, 1 warning"
    assert "concat-scales  warning" in out


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = good()
    net.constant("relu1.zero", 1, "int8")
    path = net.save(tmp_path)
    code, out, _ = call(capsys, "lint", path, "--target", "xavier", "--json")
    found = json.loads(out)
    assert (code, found["file"], found["errors"], found["warnings"]) == (1, str(path), 2, 0)
    assert found["report"]["target"] == "xavier"
    assert found["report"]["int8"] == {"integer": 5, "total": 5, "floats": []}
    assert [one["node"] for one in found["report"]["findings"]] == ["relu1.q", "relu1.dq"]
    assert set(found["report"]["findings"][0]) == {"rule", "severity", "node", "what", "why", "fix"}


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        (None, "xavier", "there is no such file; check the path"),
        (b"hello", "xavier", "not an ONNX file, or a truncated one; export the model again"),
        (None, "xavier8", "Error: --target: there is no target xavier8; did you mean xavier?"),
    ],
)
def test_bad_input_is_one_line(
    content: bytes | None, target: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)
    code, out, err = call(capsys, "lint", path, "--target", target)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err


def test_fix_writes_a_file_that_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = good()
    net.constant("relu1.zero", 128, "uint8")
    path, mended = net.save(tmp_path), tmp_path / "mended.onnx"
    before = path.read_bytes()
    code, out, err = call(capsys, "lint", path, "--target", "xavier", "--fix", mended)
    assert (code, err) == (0, "")
    assert "1 UINT8 pairs around 128 are INT8 around 0\n" in out
    assert f"wrote {mended}\n" in out
    assert out.splitlines()[-1] == "0 errors, 0 warnings"
    assert path.read_bytes() == before
    code, out, _ = call(capsys, "lint", path, "--target", "xavier", "--fix", mended, "--json")
    assert json.loads(out)["mended"][0] == "1 UINT8 pairs around 128 are INT8 around 0"


def test_fix_says_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = good()
    net.constant("relu1.zero", 1, "int8")
    code, out, _ = call(
        capsys, "lint", net.save(tmp_path), "--target", "xavier", "--fix", tmp_path / "m.onnx"
    )
    assert code == 1
    assert "zero-point" in out


def test_fix_does_not_write_over_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = good().save(tmp_path)
    code, _, err = call(capsys, "lint", path, "--target", "xavier", "--fix", path)
    assert (code, err) == (2, f"Error: {path}: is the input too; name another output\n")
