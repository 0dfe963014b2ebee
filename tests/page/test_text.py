"""Numbers as the report shows them."""

from __future__ import annotations

import math

import pytest

from onnxcomp.page import text


@pytest.mark.parametrize(
    ("given", "shown"),
    [("conv", "conv"), ("a" * 30, "aaaaa…aaaa"), ("\x1b[31m", r"\x1b[31m"), ("abcdefghijk", "abcde…hijk")],
)
def test_long_names_lose_their_middle(given: str, shown: str) -> None:
    assert text.shortened(given, 10) == shown
    assert len(text.shortened(given, 10)) <= 10


def test_what_is_not_known_is_a_dash() -> None:
    assert [text.count(None), text.percent(None), text.percent(math.nan), text.milliseconds(None)] == [
        "-"
    ] * 4
    assert (text.count(1234), text.percent(76.409), text.milliseconds(0.12345)) == (
        "1,234",
        "76.41 %",
        "0.123",
    )
    assert text.figure(12345.6) == "1.23e+04"
