from __future__ import annotations

from pathlib import Path

import pytest

from onnxcomp import files
from onnxcomp.deploy.dla import read_calibration
from onnxcomp.deploy.finalize import Report, finalize_report
from onnxcomp.deploy.targets import get_target
from onnxcomp.deploy.write import paths, write
from onnxcomp.errors import OnnxcompError
from onnxcomp.model import Model, from_proto, load
from tests import zoo
from tests.deploy.networks import compressed


def finalized(target: str) -> tuple[Model, Report]:
    return finalize_report(compressed(from_proto(zoo.mlp()), "qat"), get_target(target))


def test_one_file_for_a_gpu(tmp_path: Path) -> None:
    assert write(*finalized("xavier"), tmp_path / "d.onnx") == [tmp_path / "d.onnx"]
    assert [path.name for path in tmp_path.iterdir()] == ["d.onnx"]


def test_three_files_for_a_dla(tmp_path: Path) -> None:
    model, report = finalized("xavier-dla")
    assert report.dla is not None
    written = write(model, report, tmp_path / "d.onnx")
    assert [path.name for path in written] == ["d.onnx", "d.calib", "d.precisions.txt"]
    assert sorted(tmp_path.iterdir()) == sorted(written)
    assert load(written[0]).graph.name == model.graph.name
    assert read_calibration(written[1]) == report.dla.scales
    assert written[2].read_text() == report.dla.precisions


@pytest.mark.parametrize("broken", ["d.onnx", "d.calib", "d.precisions.txt"])
def test_all_or_none(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: name.encode() for name in ("d.onnx", "d.calib", "d.precisions.txt")}
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
    model, report = finalized("xavier-dla")
    sizes = {"d.onnx": 0, "d.calib": 1, "d.precisions.txt": 2}
    count = iter(range(3))
    original = Path.write_bytes

    def fail(path: Path, data: bytes) -> int:
        if next(count) == sizes[broken]:
            raise OSError(28, "No space left on device")
        return original(path, data)

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OnnxcompError, match="No space left"):
        write(model, report, tmp_path / "d.onnx")
    monkeypatch.undo()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_read_only_file_beside_is_refused_before_any(tmp_path: Path) -> None:
    (tmp_path / "d.calib").touch(mode=0o444)
    with pytest.raises(OnnxcompError, match=r"d\.calib: cannot be written"):
        write(*finalized("orin-dla"), tmp_path / "d.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["d.calib"]


def test_a_name_that_is_taken_beside_is_refused() -> None:
    with pytest.raises(OnnxcompError, match=r"d\.calib: is the name of a file beside it; name it \.onnx"):
        paths(Path("d.calib"), dla=True)
    assert paths(Path("d.calib"), dla=False) == [Path("d.calib")]
    assert not files.is_part("d.calib")
