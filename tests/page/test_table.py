"""The table of networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from onnxcomp.page import results, table
from onnxcomp.page.report import Report, Wish, gather


@pytest.fixture(scope="module")
def report(made: Path) -> Report:
    return gather([made], Wish())


def test_every_column_has_a_cell(report: Report, made: Path) -> None:
    columns, rows = table.columns(report), table.rows(report)
    assert columns == (
        *("network", "top-1", "bytes", "deflated", "parameters", "non-zero", "MACs"),
        *("CPU, batch 1, ms, measured", "xavier, ms, estimate"),
    )
    measured = results.read(made / "results.json").rows
    for row, given in zip(rows, measured, strict=True):
        cells = dict(zip(columns, row, strict=True))
        assert cells["top-1"] == f"{given.evaluation.accuracy.top1:.2f} %"
        assert cells["bytes"] == f"{given.evaluation.file.raw:,}"
        assert cells["non-zero"] == f"{given.evaluation.parameters.nonzero_int8:,}"
        assert given.evaluation.latency is not None
        assert cells["CPU, batch 1, ms, measured"] == f"{given.evaluation.latency.median:.3f}"
    assert rows[0][0] == "dense, as given"


def test_notes_say_what_was_measured_and_what_was_not(report: Report) -> None:
    notes = " ".join(table.notes(report))
    assert "Accuracy on 360 test images: one image is 0.28 points." in notes
    assert "threads: 1; noisy" in notes
    assert "nothing was run there: xavier is Jetson AGX Xavier" in notes


def test_what_was_not_measured_is_a_dash(report: Report) -> None:
    networks = tuple(replace(one, accuracy=None, latency=None, macs=None) for one in report.networks)
    bare = replace(report, networks=networks, columns=())
    assert table.columns(bare)[-1] == "MACs"
    assert [(row[1], row[-1]) for row in table.rows(bare)] == [("-", "-")] * 2
    assert not any("Accuracy" in note or "latency" in note for note in table.notes(bare))


def test_batches_are_not_mixed_in_a_column(report: Report) -> None:
    first, second = report.networks
    assert second.latency is not None
    other = replace(second, latency=replace(second.latency, batch=16))
    mixed = replace(report, networks=(first, other))
    columns = table.columns(mixed)
    assert "CPU, batch 16, ms, measured" in columns
    index = columns.index("CPU, batch 1, ms, measured")
    assert [row[index] == "-" for row in table.rows(mixed)] == [False, True]
