"""The version in trtexec's banner."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.deploy.trtexec.version import Version, VersionError, find_version, supported_version


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --help", (8, 5, 2)),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8611] # ./trtexec --onnx=a", (8, 6, 11)),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v100300] # /usr/src/tensorrt/bin/trtexec", (10, 3, 0)),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v101600] [b72] # trtexec --help", (10, 16, 0)),
        ("noise\n&&&& RUNNING TensorRT.trtexec [TensorRT v110100] [b106]\nmore", (11, 1, 0)),
    ],
)
def test_banners_as_published(banner: str, version: tuple[int, int, int]) -> None:
    assert supported_version(banner) == version


def test_prints_as_people_write_it() -> None:
    assert str(Version(10, 3, 0)) == "10.3.0"


@given(st.integers(0, 20), st.integers(0, 9), st.integers(0, 99))
def test_number_and_version_are_inverse(major: int, minor: int, patch: int) -> None:
    if major == 0 or (major < 10 and minor * 100 + patch > 999):
        return
    version = Version(major, minor, patch)
    assert Version.from_number(version.number) == version


@given(st.text())
def test_any_text_has_a_version_or_none(text: str) -> None:
    assert find_version(text) is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "does not say its version"),
        ("usage: trtexec [TensorRT v8502]", "does not say its version"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8201] # x", "TensorRT 8.2.1, too old"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v120000] # x", "TensorRT 12.0.0, whose options"),
    ],
)
def test_unsupported_is_an_error_in_one_line(text: str, says: str) -> None:
    with pytest.raises(VersionError, match=says) as caught:
        supported_version(text, "user@jetson")
    assert str(caught.value).startswith("user@jetson: ")
    assert "; " in str(caught.value)
