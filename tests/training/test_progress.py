"""Tests of onnxcomp.training.progress."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from onnxcomp.training.progress import ConsoleProgress, Silent, summary

VALUES = {
    "loss": 1.2345,
    "loss/soft_targets": 0.5,
    "accuracy": 12.34,
    "images_per_second": 99.7,
    "sparsity": 0.8,
}


def test_the_summary_is_one_line():
    assert summary(VALUES) == "loss 1.23  soft_targets 0.5  accuracy 12.3 %  100 images/s  sparsity 80.0 %"


def test_what_matters_least_is_left_out_where_there_is_no_room():
    values = {**VALUES, "gradient_norm": 2.0}
    assert summary(values) == summary(VALUES)
    assert summary(values, width=60) == "loss 1.23  accuracy 12.3 %  100 images/s  sparsity 80.0 %"
    assert summary(values, width=55) == "loss 1.23  accuracy 12.3 %  100 images/s"
    assert summary(values, width=12) == "loss 1.23"
    assert summary(values, width=3) == ""


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_bar_fits_into_the_terminal(width):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width, legacy_windows=False)
    with ConsoleProgress(console) as progress:
        progress.begin(0, 93800)
        progress.update(93799, {**VALUES, "loss/task": 1.0, "loss/boundary": 0.25})
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue()).replace("\n", "\r").split("\r")
    last = [line.rstrip() for line in shown if line.strip()][-1]
    assert len(last) <= width
    assert "93799/93800" in last
    assert "loss 1.23  accuracy 12.3 %" in last
    assert last.endswith(("images/s", "%"))  # nothing is cut
    assert ("sparsity" in last) == (width >= 100)


def test_without_a_terminal_there_is_a_line_at_each_tenth():
    out = io.StringIO()
    with ConsoleProgress(Console(file=out, width=40)) as progress:
        progress.begin(0, 95)
        for done in range(1, 96):
            progress.update(done, VALUES)
        progress.note("epoch 1: [done]")
    lines = out.getvalue().splitlines()
    assert len(lines) == 11
    assert lines[0] == f"step 10/95  {summary(VALUES)}"
    assert lines[-2:] == [f"step 95/95  {summary(VALUES)}", "epoch 1: [done]"]


def test_a_resumed_run_does_not_repeat_what_was_done():
    out = io.StringIO()
    with ConsoleProgress(Console(file=out, width=200)) as progress:
        progress.begin(50, 100)
        for done in range(51, 101):
            progress.update(done, VALUES)
    assert [line.split()[1] for line in out.getvalue().splitlines()] == [
        "60/100",
        "70/100",
        "80/100",
        "90/100",
        "100/100",
    ]


def test_on_a_terminal_there_is_one_bar_even_for_two_runs():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=160, legacy_windows=False)
    with ConsoleProgress(console) as progress:
        progress.begin(0, 7)
        progress.update(7, VALUES)
        progress.begin(0, 10)
        progress.update(10, VALUES)
    # A bar is redrawn in its line; a second bar would need a second line.
    assert out.getvalue().count("\n") == 1
    assert "10/10" in out.getvalue()
    assert "soft_targets 0.5" in out.getvalue()
    assert "step 10/10" not in out.getvalue()


def test_what_is_no_step_has_a_bar_while_it_lasts():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80, legacy_windows=False)
    with ConsoleProgress(console) as progress:
        with progress.counting("images read", 50) as advance:
            advance(20)
            progress._bar.refresh()
        assert progress._bar.tasks == []
        with progress.working("building the step"):
            pass
        progress.begin(0, 10)
        with progress.counting("test images", 5) as advance:
            advance(5)
        assert [task.description for task in progress._bar.tasks] == ["step"]
    assert "20/50" in out.getvalue()
    assert "images read" in out.getvalue()
    assert "building the step" in out.getvalue()


def test_without_a_terminal_what_is_no_step_is_silent():
    out = io.StringIO()
    with ConsoleProgress(Console(file=out, width=40)) as progress:
        with progress.counting("images read", 50) as advance, progress.working("building"):
            advance(50)
        progress.note("done")
    assert out.getvalue() == "done\n"
    with Silent().counting("images", 3) as advance, Silent().working("building"):
        assert advance(3) is None
