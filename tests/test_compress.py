"""The table of ``compress``; tests/commands/test_compress.py runs the road."""

from __future__ import annotations

from dataclasses import replace

from onnxcomp.compress import COLUMNS, OPTIONAL_COLUMNS, Row, table_rows
from onnxcomp.parity.accuracy import Accuracy
from onnxcomp.parity.latency import Latency
from onnxcomp.report.evaluation import Evaluation
from onnxcomp.report.size import FileSize, Parameters

FOUND = Evaluation(
    accuracy=Accuracy(top1=76.414, top5=None, count=10_000),
    file=FileSize(raw=73_719_076, deflated=43_172_188),
    parameters=Parameters(total=18_112_138, nonzero=4_000_000, nonzero_int8=3_815_375),
    macs=87_558_912,
    latency=Latency(median=7.4544, p99=8.9957, runs=100, threads=2, batch=1),
)


def test_one_row_a_network() -> None:
    unknown = replace(FOUND, macs=None, latency=None, accuracy=Accuracy(76.0, 98.6, 10))
    rows = table_rows([Row("dense", "dense.onnx", FOUND), Row("other", "other.onnx", unknown)])
    assert [dict(zip(COLUMNS, row, strict=True)) for row in rows] == [
        {
            **{"network": "dense", "top-1": "76.41 %", "top-5": "-"},
            **{"bytes": "73,719,076", "deflated": "43,172,188"},
            **{"parameters": "18,112,138", "non-zero": "3,815,375", "MACs": "87,558,912"},
            **{"median ms": "7.454", "p99 ms": "8.996"},
        },
        {
            **{"network": "other", "top-1": "76.00 %", "top-5": "98.60 %"},
            **{"bytes": "73,719,076", "deflated": "43,172,188"},
            **{"parameters": "18,112,138", "non-zero": "3,815,375", "MACs": "-"},
            **{"median ms": "-", "p99 ms": "-"},
        },
    ]


def test_what_a_narrow_terminal_leaves_out_is_a_column() -> None:
    assert set(OPTIONAL_COLUMNS) < set(COLUMNS)
