"""Tests of onnxcomp.training.journal."""

from __future__ import annotations

import resource
import signal

import pytest

from onnxcomp.errors import TrainingError
from onnxcomp.training.journal import Journal


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "metrics.jsonl")


def test_lines_come_back(journal):
    assert journal.records() == []
    for step in (1, 2):
        journal.log({"step": step, "loss": step / 3})
    assert journal.records() == [{"step": 1, "loss": 1 / 3}, {"step": 2, "loss": 2 / 3}]
    journal.sync()
    journal.close()


def test_what_is_beyond_a_step_or_cut_short_is_dropped(journal):
    for step in (1, 2, 3):
        journal.log({"step": step})
    with journal.path.open("a") as file:
        file.write('{"step": 4, "lo')
    notes: list[str] = []
    journal.cut(2, notes.append)
    assert (journal.records(), notes) == ([{"step": 1}, {"step": 2}], [])
    journal.log({"step": 3})
    assert [record["step"] for record in journal.records()] == [1, 2, 3]


@pytest.mark.parametrize("bad", ["[1]", "nonsense", '{"step": "x"}', "\0\0\0\0", "\xff"])
def test_a_damaged_line_costs_no_other(journal, bad):
    journal.log({"step": 1})
    with journal.path.open("ab") as file:
        file.write(bad.encode("latin-1") + b"\n")
    journal.log({"step": 2})
    assert journal.records() == [{"step": 1}, {"step": 2}]
    notes: list[str] = []
    journal.cut(9, notes.append)
    assert notes == [f"{journal.path}: 1 damaged line left out"]
    assert journal.path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_metrics_that_cannot_be_written_are_an_error_of_one_line(journal):
    journal.path.mkdir()
    with pytest.raises(TrainingError, match=r"metrics\.jsonl: cannot be written \(Is a directory\)"):
        journal.log({"step": 1})
    with pytest.raises(TrainingError, match=r"metrics\.jsonl: cannot be read \(Is a directory\)"):
        journal.records()


def test_a_disk_that_gets_full_in_a_line_leaves_no_half_line(journal):
    journal.log({"step": 1})
    before = journal.path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 5, limits[1]))
        with pytest.raises(TrainingError, match=r"cannot be written \(File too large\); make room"):
            journal.log({"step": 2, "loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert journal.path.read_bytes() == before
