from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from onnxcomp import model as models
from onnxcomp.deploy.engines.source import read
from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.deploy.targets import get_target
from onnxcomp.deploy.write import write
from onnxcomp.errors import ModelError, OnnxcompError
from tests import zoo
from tests.deploy import networks
from tests.deploy.engines.networks import quantised


def plain(path: Path, *dims: int | str) -> Path:
    """A network whose input is ``dims``."""
    proto = zoo.resnet(size=8)
    shape = proto.graph.input[0].type.tensor_type.shape
    for dim, size in zip(shape.dim, dims, strict=False):
        dim.Clear()
        if isinstance(size, int):
            dim.dim_value = size
        elif size:
            dim.dim_param = size
    onnx.save(proto, path)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.onnx"


def test_what_tensorrt_must_be_told(path: Path) -> None:
    assert not read(plain(path, "N", 3, 8, 8)).quantised
    source = read(quantised(path))
    assert source.quantised
    assert source.inputs == {"input": (None, 3, 8, 8)}
    assert (source.calibration, source.precisions) == (None, "")
    assert onnx.load_from_string(source.data) == onnx.load(path)


def test_a_free_batch_takes_the_wish(path: Path) -> None:
    for dims in (("N", 3, 8, 8), ("", 3, 8, 8), (0, 3, 8, 8)):
        source = read(plain(path, *dims))
        assert source.shapes(4) == {"input": (4, 3, 8, 8)}
        assert source.shapes(4, {"input": (2, 3, 8, 8)}) == {"input": (2, 3, 8, 8)}


def test_a_fixed_batch_is_not_said(path: Path) -> None:
    source = read(plain(path, 2, 3, 8, 8))
    assert source.shapes(2) == {}
    with pytest.raises(OnnxcompError, match=r"m.onnx: is of a fixed batch of 2; give --batch 2$"):
        source.shapes(1)


def test_other_free_dimensions_must_be_given(path: Path) -> None:
    source = read(plain(path, "N", 3, "H", "W"))
    assert source.shapes(1, {"input": (5, 3, 16, 8)}) == {"input": (5, 3, 16, 8)}
    with pytest.raises(OnnxcompError, match=r"input input is \?x3x\?x\?, not 1x3x\?x\?; give its shape with"):
        source.shapes(1)


@pytest.mark.parametrize("given", [(1, 3, 8), (1, 3, 8, 9), (1, 1, 8, 8)])
def test_a_shape_that_does_not_fit(given: tuple[int, ...], path: Path) -> None:
    with pytest.raises(OnnxcompError, match=r"input input is \?x3x8x8, not 1x"):
        read(plain(path, "N", 3, 8, 8)).shapes(1, {"input": given})


def test_the_digest_is_of_all_that_counts(path: Path, tmp_path: Path) -> None:
    model = networks.compressed(models.from_proto(zoo.resnet(size=8)), "qat")
    result, report = finalize_report(model, get_target("xavier-dla"))
    write(result, report, path)
    gpu, dla = read(path), read(path, dla=True)
    assert dla.calibration == tmp_path / "m.calib"
    assert dla.precisions == (tmp_path / "m.precisions.txt").read_text().strip()
    assert gpu.digest != dla.digest
    assert read(path, dla=True).digest == dla.digest
    (tmp_path / "m.precisions.txt").write_text("")
    assert len({gpu.digest, dla.digest, read(path, dla=True).digest}) == 3
    (tmp_path / "m.calib").write_text("no cache")
    with pytest.raises(ModelError, match=r"m.calib: its first line is not TRT-"):
        read(path, dla=True)


def test_what_is_no_onnx_file(path: Path) -> None:
    path.write_bytes(b"engine")
    with pytest.raises(ModelError, match="not an ONNX file"):
        read(path)
