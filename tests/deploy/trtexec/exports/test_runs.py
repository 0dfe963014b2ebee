"""The time of each run."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.deploy.trtexec.exports.runs import ALL, parse_runs, read_runs, statistics, summary
from onnxcomp.deploy.trtexec.exports.tolerant import ExportError
from tests.deploy.trtexec.exports.mutations import damaged, refusal
from tests.deploy.trtexec.samples import REAL, VERSIONS, needs_real, sample

TEXT = sample("8.5", "times").read_text()


def trace(computes: list[float], start: float = 0.0) -> str:
    """Runs one after the other, each with copies of 1 ms."""
    rows = []
    for compute in computes:
        points = {"Enq": (start, start + 0.1), "H2d": (start, start + 1)}
        points |= {"Compute": (start + 1, start + 1 + compute)}
        points |= {"D2h": (start + 1 + compute, start + 2 + compute)}
        row = {
            f"{end}{name}Ms": at
            for name, pair in points.items()
            for end, at in zip(("start", "end"), pair, strict=True)
        }
        rows.append(row | {"h2dMs": 1, "computeMs": compute, "d2hMs": 1, "latencyMs": compute + 2})
        start += compute + 2
    return json.dumps(rows)


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version(version: str) -> None:
    runs = read_runs(sample(version, "times"))
    found = summary(runs)
    assert found is not None
    assert found.gpu is not None
    assert len(runs) == 12
    raw = [row["computeMs"] for row in json.loads(sample(version, "times").read_text())]
    np.testing.assert_array_equal(runs.compute, raw)
    assert found.gpu.median == np.median(raw)
    assert found.gpu.max == dict(found.gpu.percentiles)[99.0] == max(raw)
    assert runs.enqueue == pytest.approx(0.03, abs=2e-3)  # a difference of numbers of six digits
    assert found.throughput == pytest.approx(12_000 / (sum(raw) + 0.011), rel=0.02)


@needs_real
def test_real_output() -> None:
    found = summary(read_runs(REAL / "times_trt8.json"))
    assert found is not None
    assert found.gpu is not None
    assert (found.gpu.min, found.gpu.median, found.gpu.max) == (0.545792, 0.54784, 0.576512)
    assert found.latency == found.gpu
    assert found.walltime == pytest.approx((4.07552 - 2.39616) / 1000)


def test_runs_of_the_warm_up_are_left_out() -> None:
    text = trace([10, 1, 2, 3])
    assert parse_runs(text, "f").compute.tolist() == [10, 1, 2, 3]
    runs = parse_runs(text, "f", warm_up=12)
    assert runs.compute.tolist() == [1, 2, 3]
    assert runs.latency.tolist() == [3, 4, 5]
    found = summary(runs)
    assert found is not None
    assert found.walltime == 0.012
    assert found.throughput == pytest.approx(3 / 0.012)
    assert found.gpu_total == 0.006


def test_no_runs() -> None:
    assert summary(parse_runs("[\n]\n", "f")) is None
    assert summary(parse_runs(trace([1]), "f", warm_up=9)) is None


def test_a_run_without_a_time_is_left_out() -> None:
    runs = parse_runs(trace([1, 2]).replace('"computeMs": 2', '"computeMs": nan'), "f")
    assert runs.compute.tolist() == [1]


def test_columns_that_a_version_lacks_are_unknown() -> None:
    rows = [{"startComputeMs": 0, "computeMs": 1, "latencyMs": 1}]
    found = summary(parse_runs(json.dumps(rows), "f"))
    assert found is not None
    assert (found.h2d, found.enqueue, found.throughput) == (None, None, None)
    assert found.gpu is not None


@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=300))
def test_percentiles_as_trtexec_counts_them(values: list[float]) -> None:
    found = statistics(np.array(values))
    assert found is not None
    for percent, value in found.percentiles:
        above = int((1 - percent / 100) * len(values))
        assert sorted(values)[max(len(values) - 1 - above, 0)] == value


@pytest.mark.parametrize("end", range(1, len(TEXT.rstrip()), 211))
def test_a_file_that_is_cut_off(end: int) -> None:
    with pytest.raises(ExportError, match=r"^f: is "):
        parse_runs(TEXT[:end], "f")


@pytest.mark.parametrize("text", ["", "{}", "hello", "[1]", sample("8.5", "profile").read_text()])
def test_another_file(text: str) -> None:
    with pytest.raises(ExportError):
        parse_runs(text, "f")


@given(st.binary() | damaged(TEXT).map(str.encode), st.floats())
def test_any_bytes_give_a_result_or_one_line(data: bytes, warm_up: float) -> None:
    said = refusal(lambda text, where: summary(parse_runs(text, where, warm_up)), data)
    assert said.startswith("f: ")
    assert "\n" not in said


@pytest.mark.timeout(20)
def test_many_runs_are_read_quickly() -> None:
    one = TEXT[TEXT.index("{") : TEXT.index("}") + 1]
    text = "[" + ",".join([one] * 50_000) + "]"
    assert len(parse_runs(text, "f")) == 50_000
    assert all(f'"{name}"' in one for name in ALL)
