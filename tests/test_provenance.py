"""What a run directory says of how it came to be."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import onnx
import pytest

from onnxcomp import __version__, files, provenance
from onnxcomp.data import open_data
from onnxcomp.provenance import Origin
from tests import zoo


def network(path: Path, **save: Any) -> Path:
    onnx.save(zoo.densenet(size=8, layers=(2, 1), growth=4), path, **save)
    return path


def test_commands_versions_and_digests(tmp_path: Path) -> None:
    data, given = open_data("digits"), network(tmp_path / "m.onnx")
    origin = Origin.of(["compress", "prune", "m.onnx", "--resume"], given)
    folder = tmp_path / "run"
    folder.mkdir()
    provenance.begin(folder, origin, data, recipe="prune", target="xavier")
    found = provenance.read(folder)
    assert (found["recipe"], found["target"]) == ("prune", "xavier")
    assert found["sessions"][0]["command"] == ["onnxcomp", "compress", "prune", "m.onnx"]
    assert found["versions"]["onnxcomp"] == __version__
    assert found["versions"]["onnx"] == onnx.__version__
    assert found["inputs"] == {str(given): {"m.onnx": files.sha256(given)}}
    assert found["data"]["train"].startswith(f"digits ({len(data.train)} images, ")
    assert found["data"]["test"].startswith(f"digits ({len(data.test)} images, ")
    assert "outputs" not in found

    provenance.finish(folder, [given])
    assert provenance.read(folder)["outputs"] == {"m.onnx": files.sha256(given)}
    provenance.begin(folder, origin, data)
    again = provenance.read(folder)
    assert len(again["sessions"]) == 2
    assert "outputs" not in again, "what an earlier session made is not known to be there still"


def test_weights_beside_the_file_are_inputs_too(tmp_path: Path) -> None:
    path = network(tmp_path / "m.onnx", save_as_external_data=True, location="m.bin", size_threshold=0)
    expected = {name: files.sha256(tmp_path / name) for name in ("m.onnx", "m.bin")}
    assert provenance.digests(path) == expected


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": "other"}', b"\xff", b"[" * 100_000])
def test_a_damaged_file_says_nothing_and_stops_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / provenance.NAME).write_bytes(content)
    assert provenance.read(tmp_path) == {}
    provenance.begin(tmp_path, Origin(), open_data("digits"))
    assert len(provenance.read(tmp_path)["sessions"]) == 1


@pytest.mark.parametrize("how", [None, KeyboardInterrupt, ValueError])
def test_a_training_is_recorded_done_or_stopped(tmp_path: Path, how: type[BaseException] | None) -> None:
    """But not one that was refused: the folder may be another's."""
    (tmp_path / "config.json").write_text("{}")
    expected = pytest.raises(how) if how else nullcontext()
    with expected, provenance.recorded(tmp_path, Origin(("onnxcomp", "train")), open_data("digits")):
        if how:
            raise how
    assert (tmp_path / provenance.NAME).exists() == (how is not ValueError)


def test_a_folder_that_no_training_made_stays_away(tmp_path: Path) -> None:
    with provenance.recorded(tmp_path / "run", Origin(), open_data("digits")):
        pass
    assert not list(tmp_path.iterdir())
    assert json.dumps(provenance.versions())
