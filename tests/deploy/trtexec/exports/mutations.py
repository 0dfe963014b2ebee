"""Damage to a file, drawn by hypothesis, and what a reader says of it."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st

from onnxcomp.deploy.trtexec.exports.tolerant import ExportError

PIECES = (
    '"',
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "nan",
    "1e999",
    "null",
    "\x00",
    "é",
    "-",
    '"name" : "',
    " ",
)


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """``text`` cut off, with a part missing, doubled or with something put in; up to three times."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(start + 40, len(text))))
        put = draw(st.sampled_from(("", text[start:end] * 2, *PIECES)))
        text = text[:start] + put + (text[end:] if draw(st.booleans()) else text[end : end + 200])
    return text


def refusal(parse: Callable[[str, str], object], data: bytes) -> str:
    """What ``parse`` says of a file "f" that it refuses; "f: " where it takes it."""
    try:
        parse(data.decode("utf-8", errors="replace"), "f")
    except ExportError as error:
        return str(error)
    return "f: "
