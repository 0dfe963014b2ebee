"""Tables and lines."""

from __future__ import annotations

import pytest

from onnxcomp.deploy.profile import rows
from onnxcomp.deploy.profile.compare import compare
from onnxcomp.deploy.profile.layer import Layer
from onnxcomp.deploy.profile.profile import Conditions
from onnxcomp.deploy.profile.reading import read
from onnxcomp.deploy.trtexec.log import Times
from onnxcomp.report.console import table
from tests.deploy.profile.network import profile


def test_the_slowest_layer_comes_first() -> None:
    found = rows.rows(profile("10").layers)
    assert {len(row) for row in found} == {len(rows.COLUMNS)}
    assert found[0][:4] == ["conv1.weight + conv1.weight.Q + conv1", "0.0400", "35.6 %", "INT8"]
    assert found[1][4:7] == ["kernel", "CaskConvolution", "conv2, b1.DQ, conv2.weight.Q and 3 more"]
    assert found[2][4] == "weights"
    assert found[3][6] == "(for mean)"
    times = [float(row[1]) for row in found]
    assert times == sorted(times, reverse=True)
    assert rows.rows(profile("8.5").layers)[-1][1:4] == ["-", "-", "FP32"]


def test_what_is_not_known_is_a_dash() -> None:
    assert rows.rows([Layer("a")]) == [["a", *["-"] * 7]]
    assert rows.rows([Layer("a", nodes=("b", "c"), ends=True)])[0][6] == "b to c"
    assert rows.rows([Layer("a", ends=True)])[0][6] == "-"


def test_a_name_cannot_colour_the_terminal() -> None:
    row = rows.rows([Layer("a\x1b[31m\nb", tactic="\x07", kind="\r", nodes=("\x1e",))])[0]
    assert row == ["a?[31m?b", "-", "-", "-", "-", "?", "?", "?"]


def test_lines_of_the_whole() -> None:
    found = profile(
        "8.5", conditions=Conditions("e.plan", gpu="Xavier", tensorrt="8.5.2", power="MAXN", batch=4)
    )
    assert rows.title(found) == "e.plan, Xavier, TensorRT 8.5.2, batch 4"
    throughput, latency, gpu, enqueue = rows.times(found)
    assert throughput == "throughput: 5535.1 queries a second (22140.2 images a second)"
    assert latency.startswith(
        "latency: median 0.1798 ms, mean 0.1798 ms, min 0.1704 ms, max 0.1891 ms, 90th perc"
    )
    assert gpu.startswith("GPU time: ")
    assert enqueue.startswith("enqueue: ")
    assert rows.coverage(found)[:5] == [
        "INT8: 79.8 % of the layers' time, 96.6 % of convolutions and products",
        "time by precision: INT8 79.8 %, reformat 11.7 %, FP16 6.6 %, FP32 1.9 %",
        "reformats: 2, 0.0250 ms (11.7 %)",
        "2:4 sparse weights: 2 layers, sparse kernel: 0",
        "power mode: MAXN",
    ]
    assert all(line.startswith("note: ") for line in rows.coverage(found)[5:])


def test_an_empty_profile() -> None:
    empty = read(None, None, None)
    assert rows.rows(empty.layers) == []
    assert rows.times(empty) == []
    assert rows.title(empty) == ""
    assert all(line.startswith("note: ") for line in rows.coverage(empty))
    assert rows.changes(compare(empty, empty)) == []
    assert rows.differences(compare(empty, empty))[0].startswith("note: ")


def test_a_comparison() -> None:
    found = compare(profile("8.5"), profile("10"))
    assert rows.changes(found)[0] == ["conv1", "0.0800", "0.0460", "0.0340", "1.74", "INT8", "1 to 2"]
    assert {len(row) for row in rows.changes(found)} == {len(rows.CHANGES)}
    assert rows.differences(found) == [
        "throughput: 5535.1 to 10434.8 queries a second, 1.89 times as fast",
        "latency (median): 0.1798 to 0.09495 ms, 1.89 times as fast",
        "GPU time (median): 0.1798 to 0.09495 ms, 1.89 times as fast",
        "sum of layers: 0.213 to 0.1125 ms, 1.89 times as fast",
        "INT8: 79.8 % to 80.9 % of the layers' time",
    ]


def test_statistics_that_are_not_known_are_left_out() -> None:
    assert rows.statistics(Times(median=1.0, percentiles=((99.9, 2.0),))) == (
        "median 1.0000 ms, 99.9th percentile 2.0000 ms"
    )


def test_tables_take_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    found = profile("8.5")
    table(rows.title(found), rows.COLUMNS, rows.rows(found.layers), optional=rows.OPTIONAL)
    table("", rows.CHANGES, rows.changes(compare(found, profile("10"))), optional=rows.CHANGES_OPTIONAL)
    out = capsys.readouterr().out
    assert "conv2.weight + conv2.weight.Q + conv2 + add + relu2" in out
    assert "speed-up" in out
