from __future__ import annotations

import io
import json
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from onnxcomp.report import console
from onnxcomp.report.console import bars, progress, table, to_json

COLUMNS = ("layer", "op", "parameters")
ROWS = [("/features/[bold]x/Conv", "Conv", "1,234"), ("/fc/Gemm", "Gemm", "5")]


def terminal(monkeypatch: pytest.MonkeyPatch, width: int, **options: Any) -> io.StringIO:
    """Make the console a terminal of ``width`` columns; its text comes into what is returned."""
    text = io.StringIO()
    made = Console(file=text, force_terminal=True, width=width, highlight=False, **options)
    monkeypatch.setattr(console, "console", lambda **_: made)
    return text


def test_without_a_terminal_it_is_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    table("Layers", COLUMNS, ROWS)
    assert capsys.readouterr().out == (
        "Layers\n"
        "layer                   op    parameters\n"
        "/features/[bold]x/Conv  Conv       1,234\n"
        "/fc/Gemm                Gemm           5\n"
    )


def test_without_a_terminal_nothing_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    table("", ("name", "value"), [("a" * 300, "1")])
    assert capsys.readouterr().out.splitlines()[1] == "a" * 300 + "      1"


def test_on_a_terminal_names_are_text_not_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    text = terminal(monkeypatch, 80)
    table("Layers", COLUMNS, ROWS)
    assert "/features/[bold]x/Conv" in text.getvalue()
    assert "\x1b[" in text.getvalue()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = terminal(monkeypatch, 80)
    assert console.console().no_color
    table("Layers", COLUMNS, ROWS)
    assert "\x1b[3" not in text.getvalue().replace("\x1b[3m", "")  # italics are no colour


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(52, ()), (51, ("output",)), (43, ("output",)), (42, ("output", "op")), (36, ("output", "op"))],
)
def test_a_narrow_terminal_drops_columns_and_folds_names(
    monkeypatch: pytest.MonkeyPatch, width: int, left_out: Sequence[str]
) -> None:
    text = terminal(monkeypatch, width, color_system=None)
    name = "/features/denseblock1/denselayer10/conv1/Conv"
    table(
        "", ("layer", "op", "output", "MACs"), [(name, "Conv", "Nx16x8", "1,234")], optional=("output", "op")
    )
    lines = text.getvalue().splitlines()
    heading = lines[1]
    assert heading.split()[-1] == "MACs"
    assert [word for word in ("op", "output") if word not in heading.split()] == sorted(left_out)
    assert max(len(line.rstrip()) for line in lines if "Left out" not in line) <= width
    folded = "".join(line.split()[0] for line in lines[3:] if line.strip() and "Left" not in line)
    assert folded.startswith(name)  # all of it, over several lines
    assert ("Left out" in text.getvalue()) is bool(left_out)


@pytest.mark.parametrize("width", [20, 50, 60, 70])
def test_a_table_too_wide_for_the_terminal_keeps_every_number(
    monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    text = terminal(monkeypatch, width, color_system=None)
    columns = ("network", "top-1", "bytes", "deflated", "median ms", "p99 ms")
    row = ("prune + qat + distill, xavier", "59.26 %", "1,655,406", "1,484,111", "0.160", "0.316")
    table("", columns, [row])
    assert all(word in text.getvalue() for word in (*columns, *row[1:]))


def test_a_long_value_wraps_and_leaves_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    text = terminal(monkeypatch, 60, color_system=None)
    table("", ("property", "value"), [("nodes per operator", "402 QuantizeLinear, " * 9), ("opset", "17")])
    assert "nodes per operator" in text.getvalue()
    assert text.getvalue().count("QuantizeLinear") == 9
    assert max(map(len, text.getvalue().splitlines())) <= 60


def test_progress_without_a_terminal_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("evaluating", 10) as advance:
        advance(4)
        advance(6)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("evaluating: 10/10 in ")
    assert err.count("\n") == 1


def test_a_long_step_tells_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "PLAIN_SECONDS", 0.0)
    with progress("evaluating", 10) as advance:
        advance(4)
    assert capsys.readouterr().err.startswith("evaluating: 4/10 in ")


def test_progress_on_a_terminal_is_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    text = terminal(monkeypatch, 80)
    with progress("[evaluating]", 10) as advance:
        advance(10)
    assert "[evaluating]" in text.getvalue()
    assert "10/10" in text.getvalue()


def test_bars_come_when_they_are_named_and_the_terminal_is_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with bars() as show:
        show("looking", 1, 2)
    assert capsys.readouterr() == ("", "")
    text = terminal(monkeypatch, 80)
    with bars() as show:
        show("[looking]", 1, 2)
        show("differentiating", 3, 4)
        show("[looking]", 2, 2)
    assert "[looking]" in text.getvalue()
    assert "2/2" in text.getvalue()
    assert "3/4" in text.getvalue()


@dataclass(frozen=True)
class Measured:
    values: tuple[float, ...]
    names: dict[str, object]


def test_json_is_strict() -> None:
    value = Measured((1.0, math.nan, math.inf), {"a": np.float32(0.5), "b": np.int64(3), "c": None, "d": "x"})
    assert json.loads(to_json(value), parse_constant=pytest.fail) == {
        "values": [1.0, None, None],
        "names": {"a": 0.5, "b": 3, "c": None, "d": "x"},
    }


@pytest.mark.parametrize("terminal", [False, True])
def test_names_are_shown_and_not_obeyed(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    table("\x1b]0;title\x07", ("name", "op"), [("\x1b[31m[bold]red\n<b>\u202e", "Conv")])
    out = capsys.readouterr().out
    assert "\x1b[31m" not in out
    assert "\x07" not in out
    assert r"\x1b[31m[bold]red\n<b>\u202e" in out
    assert r"\x1b]0;title\x07" in out


def test_what_takes_long_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    out = terminal(monkeypatch, 80)
    monkeypatch.setattr(console, "SHORT_SECONDS", 0.01)
    with console.working("finalizing m.onnx"):
        time.sleep(0.4)
    assert "finalizing m.onnx" in out.getvalue()


def test_what_is_short_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    out = terminal(monkeypatch, 80)
    before = set(threading.enumerate())
    with console.working("finalizing m.onnx"):
        pass
    with pytest.raises(ZeroDivisionError), console.working("finalizing m.onnx"):
        raise ZeroDivisionError
    assert "finalizing" not in out.getvalue()
    assert set(threading.enumerate()) <= before


def test_bars_say_what_is_done_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    out = terminal(monkeypatch, 80)
    with console.bars("applying") as show:
        show("images observed", 3, 8)
    assert "applying" in out.getvalue()
    assert "3/8" in out.getvalue()


def test_without_a_terminal_nothing_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with console.working("finalizing"), console.bars("applying") as show:
        show("images observed", 3, 8)
    assert capsys.readouterr() == ("", "")
