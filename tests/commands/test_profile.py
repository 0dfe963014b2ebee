"""``onnxcomp profile`` with a stand-in for trtexec on this machine."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from onnxcomp.deploy.profile.profile import Profile
from tests.commands.call import call
from tests.deploy.engines.networks import quantised
from tests.deploy.trtexec import installed

Capture = pytest.CaptureFixture[str]
VERSIONS = ("8.5.2", "8.6.1", "10.3.0", "11.1.0")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    quantised(tmp_path / "d.onnx")
    installed.install(tmp_path, version="8.5.2")
    return tmp_path


def build(capsys: Capture, *words: object) -> None:
    code, _, err = call(
        capsys, "build", "d.onnx", "-o", "d.plan", "--target", "xavier", "--trtexec", "./trtexec", *words
    )
    assert code == 0, err


def profile(capsys: Capture, *words: object) -> tuple[int, str, str]:
    return call(capsys, "profile", "d.plan", "--trtexec", "./trtexec", "--duration", 1, *words)


@pytest.mark.parametrize("version", VERSIONS)
def test_shows_what_an_engine_does(version: str, capsys: Capture, folder: Path) -> None:
    installed.install(folder, version=version)
    build(capsys, "--batch", 2)
    code, out, err = profile(capsys, "--layers", 2, "-o", "p.json")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == f"d.plan, Xavier, TensorRT {version}, this machine, batch 2"
    assert lines[1].startswith("throughput: ")
    assert any(line.startswith("layers (the 2 slowest of ") for line in lines)
    assert any(line.startswith("INT8: ") for line in lines)
    found = Profile.load(folder / "p.json")
    nodes = {node.name for node in onnx.load(folder / "d.onnx").graph.node}
    held = {name for layer in found.layers for name in layer.nodes}
    convolutions = {n.name for n in onnx.load(folder / "d.onnx").graph.node if n.op_type == "Conv"}
    assert convolutions <= held <= nodes
    assert found.conditions.onnx == "d.onnx"


def test_json_is_what_compare_reads(capsys: Capture, folder: Path) -> None:
    build(capsys)
    for name in ("a.json", "b.json"):
        code, out, _ = profile(capsys, "--json")
        assert code == 0
        (folder / name).write_text(out)
    code, out, _ = call(capsys, "profile", "--compare", "a.json", "b.json")
    assert code == 0
    assert out.splitlines()[0] == "a.json to b.json"
    assert "throughput: " in out
    code, out, _ = call(capsys, "profile", "--compare", "a.json", "b.json", "--json")
    assert {"throughput", "changes"} <= set(json.loads(out))


def test_a_file_that_moved_leaves_the_layers_names(capsys: Capture, folder: Path) -> None:
    build(capsys)
    (folder / "d.onnx").rename(folder / "moved.onnx")
    code, out, _ = profile(capsys, "--json")
    assert code == 0
    code, named, _ = profile(capsys, "--json", "--model", "moved.onnx")
    assert code == 0
    mains = [{layer["main"] for layer in json.loads(text)["layers"]} for text in (out, named)]
    convolutions = {n.name for n in onnx.load(folder / "moved.onnx").graph.node if n.op_type == "Conv"}
    assert convolutions <= mains[1]
    assert not convolutions <= mains[0] or mains[0] != mains[1]


def test_an_engine_without_a_record(capsys: Capture, folder: Path) -> None:
    build(capsys)
    (folder / "d.plan.json").unlink()
    code, out, err = profile(capsys, "--shape", "input:1x3x8x8")
    assert code == 0, err
    assert "d.plan, Xavier, TensorRT 8.5.2, this machine, batch 1" in out


@pytest.mark.parametrize("shape", ["nonsense:64x2", "input:2x3x8x8"])
def test_shapes_that_the_engine_does_not_take(shape: str, capsys: Capture) -> None:
    build(capsys)
    code, out, err = profile(capsys, "--shape", shape)
    assert (code, out) == (2, "")
    fix = "leave it out, or build an engine of other shapes"
    assert err == f"Error: --shape: the engine takes exactly input:1x3x8x8; {fix}\n"
    assert profile(capsys, "--shape", "input:1x3x8x8")[0] == 0


@pytest.mark.parametrize("output", ["d.plan", "d.plan.json", "d.onnx"])
def test_a_profile_replaces_nothing_that_it_is_of(output: str, capsys: Capture, folder: Path) -> None:
    build(capsys)
    before = (folder / output).read_bytes()
    code, out, _ = profile(capsys, "-o", output, "--model", "d.onnx")
    assert (code, out) == (2, "")
    assert (folder / output).read_bytes() == before


def test_the_log_is_shown_on_demand(capsys: Capture) -> None:
    build(capsys)
    assert "=== Performance summary ===" in profile(capsys, "--verbose")[2]


def test_bad_engines_are_one_line(capsys: Capture, folder: Path) -> None:
    code, _, err = profile(capsys)
    assert (code, err) == (2, "Error: d.plan: there is no such engine; build it with onnxcomp build\n")
    (folder / "d.plan").write_text("hello")
    code, _, err = profile(capsys)
    assert code == 2
    assert err.endswith(
        "Error: this machine: d.plan: the file is no TensorRT engine, or a damaged one; build it again\n"
    )


def test_an_engine_of_another_version(capsys: Capture, folder: Path) -> None:
    build(capsys)
    installed.install(folder, version="10.3.0")
    code, _, err = profile(capsys)
    assert code == 2
    assert err.endswith(
        "Error: d.plan: was built by TensorRT 8.5.2, and there is 10.3.0; build it where it is to run\n"
    )
    (folder / "d.plan.json").unlink()  # then trtexec says it
    code, _, err = profile(capsys)
    assert code == 2
    assert "d.plan: the engine was built by another version of TensorRT" in err.splitlines()[-1]


@pytest.mark.parametrize("fault", ["garbage", "truncated"])
def test_files_that_are_damaged_there_are_one_line(fault: str, capsys: Capture, folder: Path) -> None:
    build(capsys)
    installed.install(folder, fault=fault)
    code, out, err = profile(capsys, "-o", "p.json")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("Error: ")
    assert not (folder / "p.json").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--compare", "a", "b", "-o", "c.json"), "--compare only reads two profiles: leave out what is"),
        (("--compare", "a", "b", "--host", "h"), "--compare only reads two profiles: leave out what is"),
        (("--compare", "d.onnx"), "--compare takes two profiles, before and after"),
        (("--compare", "d.onnx", "d.onnx"), "Error: d.onnx: holds no profile"),
        (("--compare", "no.json", "no.json"), "Error: no.json: cannot be read"),
        (("a", "b"), "one ENGINE is expected, or two profiles with --compare"),
        (("d.onnx", "-o", "none/p.json"), "Error: none: there is no such folder"),
    ],
)
def test_bad_words(words: tuple[str, ...], line: str, capsys: Capture) -> None:
    code, _, err = call(capsys, "profile", *words)
    assert code == 2
    assert line in err
