"""Tests of onnxcomp.training.metrics.tensorboard: the event files, read back record by record."""

from __future__ import annotations

import io
import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxcomp.errors import MissingPackageError, OnnxcompError, TrainingError
from onnxcomp.training.metrics.tensorboard import TensorBoard
from tests.project import python

pytest.importorskip("tensorboardX")

TRAINING = {"lr": 0.01, "loss": 0.4, "loss/task": 0.7, "accuracy": 75.0, "sparsity": 0.8}
TAGS = ["accuracy/train", "loss/task", "loss/total", "lr", "sparsity"]


def records(path: Path) -> Iterator[bytes]:
    """The TFRecords of a file: length (8 bytes) and its checksum (4), data and its checksum (4)."""
    data = path.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert len(data) >= 16 + length
        yield data[12 : 12 + length]
        data = data[16 + length :]


def shown(path: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows of a folder: a session's start purges what is known from its step on."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    points: dict[str, list[tuple[int, float]]] = {}
    for file in sorted(path.iterdir()):
        for record in records(file):
            event: Any = Event.FromString(record)
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                points = {
                    tag: [point for point in known if point[0] < event.step] for tag, known in points.items()
                }
            for value in event.summary.value:
                points.setdefault(value.tag, []).append((event.step, value.simple_value))
    return points


def test_values_and_steps_are_read_back(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path / "a" / "tensorboard")
    for step in (50, 100):
        board.log({"step": step, "epoch": step / 100, **TRAINING, "images_per_second": 10.0 * step})
    board.log({"event": "epoch", "step": 100, "epoch": 1.0, "test_accuracy": 99.0})
    board.close()
    found = shown(tmp_path / "a" / "tensorboard")
    assert sorted(found) == sorted([*TAGS, "accuracy/test", "images_per_second"])
    assert found["images_per_second"] == [(50, 500.0), (100, 1000.0)]
    assert found["accuracy/test"] == [(100, 99.0)]
    # float32 in the file: 2**-24 relative
    assert [step for step, _ in found["lr"]] == [50, 100]
    assert [value for _, value in found["lr"]] == pytest.approx([0.01, 0.01], rel=6e-8)
    assert [value for _, value in found["loss/total"]] == pytest.approx([0.4, 0.4], rel=6e-8)


def test_a_resumed_run_shows_no_step_twice(tmp_path: Path) -> None:
    first = TensorBoard(tmp_path)
    for step in (10, 20, 30, 40):
        first.log({"step": step, "loss": step})
    # As if killed: the next begins before this is closed. The checkpoint was after step 20.
    second = TensorBoard(tmp_path, purge_from=21)
    second.log({"step": 30, "loss": -30})
    second.close()
    first.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert shown(tmp_path) == {"loss/total": [(10, 10.0), (20, 20.0), (30, -30.0)]}


def test_a_record_is_in_the_file_when_log_returns(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.log({"step": 1, "loss": 0.5})
    assert shown(tmp_path) == {"loss/total": [(1, 0.5)]}
    board.close()


class SmallDisk(io.FileIO):
    """A file on a disk with 400 bytes."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > 400:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(path: str) -> io.BufferedWriter:
        return io.BufferedWriter(SmallDisk(path, "wb"))

    monkeypatch.setattr("tensorboardX.record_writer.open_file", small)
    board = TensorBoard(tmp_path)
    board.log({"step": 1, "loss": 0.5})
    many = {f"loss/{term}": 0.5 for term in range(20)}
    with pytest.raises(TrainingError, match=r"cannot be written \(No space left on device\); make room"):
        board.log({"step": 2, **many})
    board.close()
    assert shown(tmp_path) == {"loss/total": [(1, 0.5)]}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(OnnxcompError, match="cannot be created"):
        TensorBoard(tmp_path / "a")


def test_without_tensorboardx_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'onnxcomp\[tensorboard\]'"):
        TensorBoard(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_torch_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')\n")
    code = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from onnxcomp.training.metrics.tensorboard import TensorBoard
TensorBoard(Path(sys.argv[1]) / "a").close()
print(json.dumps("torch" in sys.modules))
"""
    done = python(code, str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) is False
