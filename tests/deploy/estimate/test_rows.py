from __future__ import annotations

from pathlib import Path

from onnxcomp.deploy.estimate import estimate, rows
from onnxcomp.deploy.targets import get_target
from tests.deploy.lint.networks import good


def test_rows_are_the_layers_slowest_first(tmp_path: Path) -> None:
    found = estimate(good().save(tmp_path), get_target("xavier"), batch=512)
    cells = rows.rows(found)
    assert all(len(row) == len(rows.COLUMNS) for row in cells)
    assert len(cells) == sum(layer.us > 0 for layer in found.layers)
    times = [float(row[1]) for row in cells]
    assert times == sorted(times, reverse=True)
    assert rows.rows(found, 2) == cells[:2]


def test_lines_say_that_it_is_an_estimate(tmp_path: Path) -> None:
    found = estimate(good().save(tmp_path), get_target("xavier"), batch=512)
    first, *others = rows.lines(found)
    assert first.startswith(f"estimate, not measured: {found.us / 1000:.3f} ms at batch 512")
    assert any(line.startswith("bound by arithmetic") for line in others)
    assert any("half the channels everywhere" in line for line in others)
    assert others[-1].startswith("assumed: ")
