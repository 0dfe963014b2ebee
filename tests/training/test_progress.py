"""Tests of onnxcomp.training.progress."""

from __future__ import annotations

import io

from rich.console import Console

from onnxcomp.training.progress import ConsoleProgress, summary

VALUES = {
    "loss": 1.2345,
    "loss/soft_targets": 0.5,
    "accuracy": 12.34,
    "images_per_second": 99.7,
    "sparsity": 0.8,
}


def test_the_summary_is_one_line():
    assert summary(VALUES) == "loss 1.23  soft_targets 0.5  accuracy 12.3 %  100 images/s  sparsity 80.0 %"


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
