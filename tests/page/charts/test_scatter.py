"""Accuracy against what it costs."""

from __future__ import annotations

import re

from onnxcomp.page.charts.scatter import Point, scatter

FEW = [Point("dense", 10.0, 99.0), Point("pruned", 2.0, 98.0), Point("+ INT8", 1.0, 97.5)]


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", svg)


def test_each_network_is_named_once() -> None:
    chart = scatter("size", "Title", "MB", [("deflated", FEW), ("raw", [Point("dense", 12.0, 99.0)])])
    assert chart is not None
    found = texts(chart.svg)
    assert [found.count(point.label) for point in FEW] == [1, 1, 1]
    assert {"deflated", "raw"} <= set(found)
    assert "dense: 99.00 % at 10 (deflated)" in chart.text


def test_a_wide_range_is_logarithmic_and_has_figures() -> None:
    chart = scatter("size", "Title", "MB", [("", FEW)])
    assert chart is not None
    assert {"1", "2", "5", "10"} <= set(texts(chart.svg))


def test_a_single_point_and_none() -> None:
    assert scatter("size", "Title", "MB", [("", FEW[:1])]) is not None
    assert scatter("size", "Title", "MB", [("", []), ("other", [])]) is None
