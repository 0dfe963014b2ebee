"""JSON that is not quite."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.deploy.trtexec.exports import tolerant
from onnxcomp.deploy.trtexec.exports.tolerant import (
    ExportError,
    number,
    read_json,
    read_text,
    unescaped,
)
from tests.deploy.trtexec.exports.mutations import refusal


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": [1, 2.5, "x"]}', {"a": [1, 2.5, "x"]}),
        ('{"a": nan, "b": -nan, "c": [inf, -inf]}', {"a": None, "b": None, "c": [None, None]}),
        ('{"a": NaN, "b": Infinity}', {"a": None, "b": None}),
        ('["C:\\path\\dir", "\\u00e9", "tab\\t"]', ["C:\\path\\dir", "é", "tab\t"]),
        ('["one\x1etwo\nthree"]', ["one\x1etwo\nthree"]),
    ],
)
def test_what_is_let_pass(text: str, expected: object) -> None:
    assert read_json(text, "f") == expected


@pytest.mark.parametrize("text", ["", '{"a": ', "[" * 200_000, "1" * 5000, '["a"b"]'])
def test_what_is_not(text: str) -> None:
    with pytest.raises(ExportError, match=r"^f: is not JSON, or is cut off; ") as caught:
        read_json(text, "f")
    assert "\n" not in str(caught.value)


@given(st.text())
def test_any_text_gives_a_value_or_an_error(text: str) -> None:
    assert refusal(read_json, text.encode("utf-8", errors="replace")).startswith("f: ")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"none\.json: cannot be read \(No such file or directory\)"):
        read_text(tmp_path / "none.json")
    with pytest.raises(ExportError, match="cannot be read"):
        read_text(tmp_path)


def test_a_file_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "f.json"
    path.write_bytes(b"\xff[]")
    assert read_text(path) == "\ufffd[]"
    monkeypatch.setattr(tolerant, "MAX_BYTES", 2)
    with pytest.raises(ExportError, match="is larger than 1 GB"):
        read_text(path)


def test_strings_that_were_escaped() -> None:
    assert unescaped(r"a \"quoted\" \\ one") == r'a "quoted" \ one'
    assert unescaped(r"C:\path") == r"C:\path"
    assert unescaped("plain") == "plain"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((1, 1.0), ("2.5", 2.5), ("nan", None), ("-inf", None), (1e308, None)),
        *((10**400, None), (True, None), (None, None), ("x", None)),
    ],
)
def test_numbers(value: object, expected: float | None) -> None:
    assert number(value) == expected
