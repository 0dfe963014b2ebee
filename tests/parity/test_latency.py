from __future__ import annotations

import time

import pytest

from onnxcomp.errors import OnnxcompError
from onnxcomp.parity import latency
from onnxcomp.parity.latency import measure_latency
from tests import pictures


def test_the_median_comes_before_the_99th_percentile() -> None:
    found = measure_latency(pictures.network(), threads=1, runs=50)
    assert 0 < found.median <= found.p99
    assert (found.runs, found.threads, found.batch) == (50, 1, 1)


def test_more_work_takes_longer() -> None:
    small = measure_latency(pictures.network("densenet"), threads=1, runs=30)
    large = measure_latency(pictures.network("densenet", size=64), threads=1, runs=30)
    assert large.median > 2 * small.median  # 16 times the pixels; measured 9 times the time


def test_by_default_there_are_at_least_100_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "LEAST_SECONDS", 0.0)
    assert measure_latency(pictures.network("mlp"), threads=1).runs == 100


def test_and_at_least_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "LEAST_SECONDS", 0.1)
    start = time.perf_counter()
    measure_latency(pictures.network("mlp"), threads=1)
    assert time.perf_counter() - start > 0.1


def test_a_fixed_batch_is_said() -> None:
    assert measure_latency(pictures.network("mlp", batch=4), threads=1, runs=1).batch == 4


def test_no_runs_are_refused() -> None:
    with pytest.raises(OnnxcompError, match="0 timed runs"):
        measure_latency(pictures.network("mlp"), threads=1, runs=0)
