"""Charts over the layers of a network."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from onnxcomp.page import found, histogram, runs
from onnxcomp.page.charts import layers
from tests.page import kept


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_zeros_of_networks_that_have_some(made: Path) -> None:
    networks = runs.read(made, "run").networks
    chart = layers.sparsity("z", networks)
    assert chart is not None
    assert "pruned + INT8 + distilled" in texts(chart.svg)
    assert "dense, as given" not in texts(chart.svg)
    assert " % of all weights, most in " in chart.text
    assert layers.sparsity("z", networks[:1]) is None


def test_ranges_skip_layers_without_values() -> None:
    one = histogram.of_values(np.array([-1.0, 2.0]))
    wide = histogram.of_values(np.array([-100.0, 200.0]))
    chart = layers.ranges("r", "Weights", "weight", [one, None, one, wide])
    assert chart is not None
    assert "The widest is layer 4: -100 to 200." in chart.text
    assert not any("$" in text for text in texts(chart.svg))
    assert layers.ranges("r", "Weights", "weight", [None]) is None


def test_the_most_sensitive_layer_is_on_top(tmp_path: Path) -> None:
    for path in (kept.pruned(tmp_path / "p.json"), kept.quantised(tmp_path / "q.json")):
        chart = layers.sensitivity("s", found.sensitivity(path))
        assert chart is not None
        names = [text for text in texts(chart.svg) if text.endswith(".weight")]
        assert names == ["b.weight", "a.weight"], "c.weight, which INT8 does not change, has no bar"


def test_many_bars_are_cut_and_long_names_shortened() -> None:
    values = {f"{index:03}{'x' * 90}": float(index) for index in range(99)}
    chart = layers.bars("b", "Title", "ms", values)
    assert chart is not None
    names = [text for text in texts(chart.svg) if "x" in text]
    assert len(names) == layers.LISTED
    assert max(map(len, names)) == 60
    assert layers.bars("b", "Title", "ms", {}) is None
