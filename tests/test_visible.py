from __future__ import annotations

import pytest

from onnxcomp.errors import OnnxcompError
from onnxcomp.visible import visible


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("features.conv0", "features.conv0"),
        ("Größe 層 <b>&amp;</b> \\n", "Größe 層 <b>&amp;</b> \\n"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("two\r\nlines\t\x7f", r"two\r\nlines\t\x7f"),
        ("\x9b31m", r"\x9b31m"),  # the 8-bit form of ESC [
        ("a\u202eb\u200b\u2066\ufeff", r"a\u202eb\u200b\u2066\ufeff"),
        ("\ud800", r"\ud800"),
        ("", ""),
    ],
)
def test_what_does_not_show_is_written_out(text: str, expected: str) -> None:
    assert visible(text) == expected


def test_an_error_is_one_visible_line() -> None:
    error = OnnxcompError("node \x1b[31m is\nbad", where="a\x07.onnx", fix="rename it")
    assert str(error) == r"a\x07.onnx: node \x1b[31m is bad; rename it"
