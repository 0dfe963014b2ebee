"""trtexec's log, as published and as damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.deploy.trtexec.log import (
    Log,
    LogReader,
    Sparsity,
    Stage,
    Summary,
    read_log,
    read_times,
    split_names,
)

# Numbers of OE4T/meta-tegra#1150: TensorRT 8.5.2 on a Jetson AGX Xavier.
XAVIER = Path(__file__).with_name("said").joinpath("xavier.log").read_text()
# "Structured Sparsity" of NVIDIA's guide: 8.5, and 10 without and with --verbose.
OLD_SPARSE = """\
[03/23/2021-00:14:05] [I] [TRT] (Sparsity) Layers eligible for sparse math: conv1, conv2, conv3
[03/23/2021] [I] [TRT] (Sparsity) TRT inference plan picked sparse implementation for layers: conv2, conv3
"""
NEW_SPARSE = """\
[03/23/2026-00:14:05] [I] [TRT] (Sparsity) Found 39 layer(s) eligible to use sparse tactics
[03/23/2026-00:14:05] [I] [TRT] (Sparsity) Chose 0 layer(s) using sparse tactics
"""
VERBOSE_SPARSE = """\
[I] [TRT] (Sparsity) Found 2 layer(s) eligible to use sparse tactics: conv1 + PWN(Sigmoid_2, Mul_3), fc
[I] [TRT] (Sparsity) Chose 1 layer(s) using sparse tactics: fc
"""


def test_summary_of_a_xavier() -> None:
    log = read_log(XAVIER)
    assert (log.version, log.gpu, log.capability, log.passed) == ((8, 5, 2), "Xavier", (7, 2), True)
    assert (log.stage, log.build_seconds) == (Stage.ENDED, 28.6839)
    summary = log.summary
    assert summary is not None
    assert (summary.throughput, summary.walltime, summary.gpu_total) == (43073.6, 3.00119, 2.99202)
    assert summary.latency is not None
    assert (summary.latency.min, summary.latency.max) == (0.369385, 2.36157)
    assert (summary.latency.mean, summary.latency.median) == (0.386481, 0.385986)
    assert summary.latency.percentiles == ((90, 0.391113), (95, 0.393066), (99, 0.404907))
    assert summary.gpu is not None
    assert (summary.gpu.mean, summary.gpu.percentiles) == (0.369765, ())
    assert summary.enqueue is not None
    assert summary.enqueue.mean == 0.0061
    assert summary.h2d is not None
    assert summary.h2d.max == 0
    assert summary.d2h is not None
    assert summary.d2h.max == 0.2
    assert [notice.kind for notice in log.notices] == ["unstable"]


@pytest.mark.parametrize(
    ("text", "sparsity"),
    [
        (OLD_SPARSE, Sparsity(3, 2, ("conv1", "conv2", "conv3"), ("conv2", "conv3"))),
        (NEW_SPARSE, Sparsity(39, 0)),
        (VERBOSE_SPARSE, Sparsity(2, 1, ("conv1 + PWN(Sigmoid_2, Mul_3)", "fc"), ("fc",))),
        ("[I] [TRT] (Sparsity) Layers eligible for sparse math: \n", Sparsity()),
        ("[I] [TRT] (Sparsity) something new\n", None),
        ("", None),
    ],
)
def test_sparsity_in_both_spellings(text: str, sparsity: Sparsity | None) -> None:
    assert read_log(text).sparsity == sparsity


def test_stages_come_in_order_and_stay() -> None:
    reader = LogReader()
    seen = []
    for line in (
        "&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # x",
        "[x] [I] Start parsing network model.",
        "[x] [I] Finish parsing network model",
        "[x] [I] [TRT] Total Host Persistent Memory: 68384",
        "[x] [I] Engine built in 6.1 sec.",
        "[x] [I] Engine deserialized in 0.01 sec.",
        "[x] [I] Starting inference",
        "[x] [I] Start parsing network model.",
        "[x] [I] === Performance summary ===",
        "&&&& PASSED TensorRT.trtexec [TensorRT v8502] # x",
    ):
        reader.read(line + "\n")
        seen.append(reader.stage)
    assert seen == sorted(seen)
    assert set(seen) == set(Stage)
    assert reader.result().passed is True
    assert read_log("[x] [I] Finished parsing network model. Parse time: 0.01").stage is Stage.CHOOSING


def test_without_a_last_word_it_neither_passed_nor_failed() -> None:
    log = read_log(XAVIER.rsplit("&&&&", 1)[0])
    assert log.passed is None
    assert log.stage is Stage.MEASURED


def test_a_failed_run_stays_where_it_failed() -> None:
    log = read_log("[x] [I] Starting inference\n&&&& FAILED TensorRT.trtexec [TensorRT v8502] # x")
    assert (log.passed, log.stage) == (False, Stage.MEASURING)


def test_a_damaged_column_keeps_what_is_left() -> None:
    times = read_times("Latency: min = 0.3 ms, max = 2.3 ms, mean = inf ms, med")
    assert (times.min, times.max, times.mean, times.median) == (0.3, 2.3, None, None)


@given(st.text())
def test_any_text_gives_a_log(text: str) -> None:
    assert isinstance(read_log(text), Log)


LINES = XAVIER.splitlines() + OLD_SPARSE.splitlines() + VERBOSE_SPARSE.splitlines()


@given(st.lists(st.tuples(st.sampled_from(LINES), st.integers(0, 250), st.text(max_size=5)), max_size=8))
def test_damaged_logs_give_a_log(cuts: list[tuple[str, int, str]]) -> None:
    log = read_log(line[:at] + noise + line[at + 1 :] for line, at, noise in cuts)
    assert isinstance(log, Log)
    assert log.summary is None or log.summary != Summary()


@given(st.text())
def test_names_lose_no_letter(text: str) -> None:
    letters = "".join(split_names(text)).replace(",", "").replace(" ", "")
    assert "".join(letters.split()) == "".join(text.replace(",", "").split())
