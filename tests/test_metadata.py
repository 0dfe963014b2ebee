"""What a file says beside its graph, and what is refused of it."""

from __future__ import annotations

import re

import pytest

from onnxcomp import metadata


def test_split() -> None:
    assert metadata.split({"onnxcomp.form": "a", "form": "b", "onnxcompx": "c"}) == (
        {"form": "a"},
        {"form": "b", "onnxcompx": "c"},
    )


def test_what_is_read() -> None:
    assert metadata.strings('["a", "\\u00e9"]') == ("a", "é")
    assert metadata.numbers([1, 2.5, -3e2]) == (1.0, 2.5, -300.0)
    assert metadata.table('{"a": "mask"}') == {"a": "mask"}
    assert metadata.weights('{"loss/task": 1}') == {"loss/task": 1.0}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('"abc"', '"abc" is not a list of strings'),
        ('["a", 1]', '["a", 1] is not a list of strings'),
        ("{}", "{} is not a list of strings"),
        ("[", "Expecting value"),
        ("[" * 100_000, "nested too deeply"),
        (f"[{'1, ' * 50}1]", "[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, ... is not a list of strings"),
    ],
)
def test_no_strings(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(reason)):
        metadata.strings(text)


@pytest.mark.parametrize("value", [None, [], "12", ["1"], [True], [float("nan")], [float("inf")], {}, 3])
def test_no_numbers(value: object) -> None:
    with pytest.raises(ValueError, match=r"is not a list of numbers$"):
        metadata.numbers(value)


@pytest.mark.parametrize("text", ["[]", "null", "1", '"a"'])
def test_no_table(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not an object$"):
        metadata.table(text)


@pytest.mark.parametrize("text", ['{"a": "1"}', '{"a": null}', '{"a": NaN}', '{"a": true}'])
def test_no_weights(text: str) -> None:
    with pytest.raises(ValueError, match=r"of a is not a number$"):
        metadata.weights(text)
