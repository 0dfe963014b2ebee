from __future__ import annotations

import struct
from pathlib import Path

import pytest

from onnxcomp.deploy.dla.files import calibration_text, precisions_text, read_calibration, read_precisions
from onnxcomp.errors import ModelError


def test_a_cache_is_as_tensorrt_writes_it() -> None:
    # 3c92aa10 is 0.0179033577 in forums.developer.nvidia.com/t/109781, of a table that TensorRT wrote.
    (scale,) = struct.unpack(">f", bytes.fromhex("3c92aa10"))
    assert (
        calibration_text({"relu46": scale}, (8, 5, 2)) == "TRT-8502-EntropyCalibration2\nrelu46: 3c92aa10\n"
    )
    assert scale == pytest.approx(0.0179033577, rel=1e-8)


@pytest.mark.parametrize(("version", "number"), [((8, 5, 2), "8502"), ((10, 3, 0), "100300")])
def test_the_header_names_the_version(version: tuple[int, int, int], number: str) -> None:
    assert calibration_text({}, version) == f"TRT-{number}-EntropyCalibration2\n"


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    scales = {"onnx::Conv_12": 0.5, "/a: b/Relu_output_0": 2.0**-30, "x": 1.0, "small": 2.0**-126}
    path = tmp_path / "d.calib"
    path.write_text(calibration_text(scales, (8, 5, 2)))
    assert read_calibration(path) == scales


def test_digits_without_leading_zeros_are_read(tmp_path: Path) -> None:
    path = tmp_path / "d.calib"
    path.write_text("TRT-8600-EntropyCalibration2\nx: 800000\n")
    assert read_calibration(path) == {"x": 2.0**-126}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "d.calib: its first line is not TRT-<version>-EntropyCalibration2"),
        ("TRT-8502-MinMaxCalibration\nx: 3f800000\n", "d.calib: its first line is not TRT-<version>-"),
        ("TRT-8502-EntropyCalibration2\nx: 3f80000g\n", "d.calib: line 2: is not 'tensor: hex'"),
        ("TRT-8502-EntropyCalibration2\nx: 3f8000000\n", "d.calib: line 2: is not 'tensor: hex'"),
        (
            "TRT-8502-EntropyCalibration2\n\nx: 00000000\n",
            "d.calib: line 3: is no tensor with a scale above 0",
        ),
        ("TRT-8502-EntropyCalibration2\nx: 7f800000\n", "d.calib: line 2: is no tensor with a scale above 0"),
        ("TRT-8502-EntropyCalibration2\n3f800000\n", "d.calib: line 2: is no tensor with a scale above 0"),
    ],
)
def test_another_file_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "d.calib"
    path.write_text(text)
    with pytest.raises(ModelError) as refused:
        read_calibration(path)
    assert message in str(refused.value)


def test_a_binary_or_missing_file_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "b.calib"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (binary, tmp_path / "none.calib"):
        with pytest.raises(ModelError, match="cannot be read as a calibration cache"):
            read_calibration(path)


def test_precisions() -> None:
    assert precisions_text(["a", "/b/Conv"]) == "a:fp16,/b/Conv:fp16"
    assert precisions_text([]) == ""


def test_a_list_of_layers(tmp_path: Path) -> None:
    path = tmp_path / "d.precisions.txt"
    assert read_precisions(path) == ""
    path.write_text("a:fp16,b:fp16\n")
    assert read_precisions(path) == "a:fp16,b:fp16"
    path.write_bytes(b"\xff\xfe")
    for place in (path, tmp_path):
        with pytest.raises(ModelError, match=f"^{place}: cannot be read as a list of layers; finalize"):
            read_precisions(place)
