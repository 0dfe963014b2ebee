"""Why trtexec failed: lines as published, the exit codes, and noise."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.deploy.trtexec.failures import WHATS, Failure, Kind, TrtexecError, failure_error, find_failure

FAILED = "\n&&&& FAILED TensorRT.trtexec [TensorRT v8502] # trtexec --onnx=m.onnx\n"


def read_cases() -> dict[str, tuple[Kind, str, str]]:
    """Kind, subject and text by the source, which onnxcomp/deploy/trtexec/failures.py names in full."""
    cases = {}
    for part in Path(__file__).with_name("said").joinpath("failures.txt").read_text().split("\n== ")[1:]:
        heading, _, text = part.partition("\n")
        name, kind, subject = heading.split(" | ")
        cases[name] = (Kind(kind), subject, text)
    return cases


CASES = read_cases()
PARSER, NO_KERNEL = CASES["parser"][2], CASES["TRT#3545"][2]


@pytest.mark.parametrize("case", CASES)
def test_published_lines(case: str) -> None:
    kind, subject, text = CASES[case]
    failure = find_failure("[I] TensorRT version: 8.5.2\n" + text + FAILED, 1)
    assert failure is not None
    assert (failure.kind, failure.subject) == (kind, subject)
    assert not failure.line.startswith("[")
    error = failure_error(failure, "user@jetson")
    assert isinstance(error, TrtexecError)
    assert str(error).startswith("user@jetson: ")
    assert subject in str(error)
    assert error.fix
    assert "\n" not in str(error)


def test_every_kind_is_tested_or_an_exit_code() -> None:
    by_code = {Kind.KILLED, Kind.STOPPED, Kind.CRASHED, Kind.OTHER}
    assert {kind for kind, _, _ in CASES.values()} | by_code == set(Kind) == set(WHATS)


def test_the_parsers_reason() -> None:
    failure = find_failure(PARSER + FAILED, 1)
    assert failure is not None
    assert failure.detail.startswith("scaleAllPositive")
    assert "does not take m9/QuantizeLinear: scaleAllPositive" in str(failure_error(failure))


@pytest.mark.parametrize(
    ("code", "kind"),
    [(137, Kind.KILLED), (-9, Kind.KILLED), (143, Kind.STOPPED), (130, Kind.STOPPED), (134, Kind.CRASHED),
     (-11, Kind.CRASHED), (139, Kind.CRASHED), (1, Kind.OTHER), (255, Kind.OTHER)],
)  # fmt: skip
def test_exit_codes_where_the_log_says_nothing(code: int, kind: Kind) -> None:
    failure = find_failure("[I] Start parsing network model.\n", code)
    assert failure is not None
    assert failure.kind is kind


def test_what_is_not_known_is_quoted() -> None:
    failure = find_failure("[11/23/2026-08:50:31] [E] Something new\n" + FAILED, 1)
    assert failure == Failure(Kind.OTHER, "Something new", detail="exit code 1")
    assert "exit code 1): Something new" in str(failure_error(failure))


def test_no_implementation_for_lack_of_memory_says_so() -> None:
    """As on a Jetson whose memory was taken: no kernel fitted."""
    lack = "[W] [TRT] Skipping tactic 0 due to insufficient memory on requested size of 1290442752 detected\n"
    near = find_failure(lack + NO_KERNEL, 1)
    far = find_failure(lack + "[V] timing\n" * 20 + NO_KERNEL, 1)
    assert near is not None
    assert far is not None
    assert (near.kind, near.short_of_memory, far.short_of_memory) == (Kind.NO_IMPLEMENTATION, True, False)
    assert "short of memory" in str(failure_error(near))
    assert "short of memory" not in str(failure_error(far))


def test_success_is_none_even_with_warnings() -> None:
    text = "[W] [TRT] Skipping tactic 3 due to insufficient memory\n[E] Error[2]: Error Code 2: OutOfMemory\n"
    assert find_failure(text + "&&&& PASSED TensorRT.trtexec [TensorRT v8502] # x", 0) is None


def test_passed_but_not_loaded_is_a_failure() -> None:
    """Seen in 10.13 with --loadEngine and --skipInference."""
    text = "[E] Error[6]: incompatible plan\n[E] Engine deserialization failed\n&&&& PASSED TensorRT.trtexec"
    failure = find_failure(text, 0)
    assert failure is not None
    assert failure.kind is Kind.BAD_ENGINE


def test_help_is_no_failure_of_its_own() -> None:
    """An unknown option brings the whole help with it."""
    text = "=== Build Options ===\n  --x  fails with (out of memory)\n[E] Unknown option: --y 1"
    failure = find_failure(text, 1)
    assert failure is not None
    assert (failure.kind, failure.subject) == (Kind.OPTION, "--y")


@given(st.text(), st.integers(-70, 260))
def test_any_text_gives_a_failure_or_none(text: str, code: int) -> None:
    failure = find_failure(text, code)
    assert code == 0 or failure is not None
    assert failure is None or str(failure_error(failure))


@given(st.sampled_from([text for _, _, text in CASES.values()]), st.integers(0, 300), st.text(max_size=5))
def test_damaged_lines_give_a_failure(text: str, at: int, noise: str) -> None:
    failure = find_failure(text[:at] + noise + text[at + 1 :], 1)
    assert failure is not None
    assert str(failure_error(failure))
