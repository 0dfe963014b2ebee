from __future__ import annotations

import math
from dataclasses import replace

import pytest

from onnxcomp.parity.checks import comparison_checks, drop_checks, layer_check
from onnxcomp.parity.compare import Comparison
from onnxcomp.parity.interval import Drop
from onnxcomp.parity.layers import LayerError, LayerErrors
from onnxcomp.parity.limits import Limits

DROP = Drop(points=1.0, low=0.4, high=1.6, confidence=95, lost=20, won=10, count=1000)
LOGITS = Comparison(
    max_absolute=0.5,
    mean_absolute=0.1,
    max_relative=2.0,
    cosine=0.99,
    sqnr=20.0,
    agreement=98.0,
    finite=True,
    passed=True,
    count=200,
)


@pytest.mark.parametrize(
    ("by", "most", "passes", "notes"),
    [
        ("lower", 0.4, True, 1),
        ("lower", 0.39, False, 0),
        ("lower", 1.0, True, 0),
        ("estimate", 1.0, True, 0),
        ("estimate", 0.99, False, 0),
        ("upper", 1.6, True, 0),
        ("upper", 1.59, False, 0),
        ("lower", math.inf, True, 0),
    ],
)
def test_the_drop_is_judged_by_the_end_that_is_asked_for(
    by: str, most: float, passes: bool, notes: int
) -> None:
    ((check,), said) = drop_checks(DROP, 80.0, 79.0, Limits(most, drop_by=by))  # type: ignore[arg-type]
    assert check.passed is passes
    assert len(said) == notes
    assert check.found == "1.00 points (0.40 to 1.60 with 95 %)"
    for line in (check.failure, *said):
        assert not line or "from 80.00 % to 79.00 % on 1,000 images" in line


def test_no_limit_is_no_check() -> None:
    assert drop_checks(DROP, 80.0, 79.0, Limits(None)) == ([], [])
    (only,) = comparison_checks(LOGITS, Limits())
    assert (only.name, only.passed) == ("finite logits", True)


@pytest.mark.parametrize(
    ("limits", "failure"),
    [
        (Limits(min_agreement=98.0), ""),
        (
            Limits(min_agreement=98.1),
            "the same top-1 class on 98.00 % of 200 images; at least 98.1 % is asked for",
        ),
        (Limits(min_cosine=0.99), ""),
        (
            Limits(min_cosine=0.995),
            "the cosine of the logits of 200 images is 0.990000; at least 0.995 is asked for",
        ),
        (Limits(min_sqnr=20.0), ""),
        (
            Limits(min_sqnr=20.5),
            "the SQNR of the logits of 200 images is 20.0 dB; at least 20.5 dB is asked for",
        ),
        (Limits(atol=1.0), ""),
    ],
)
def test_the_logits_are_held_against_each_limit(limits: Limits, failure: str) -> None:
    _, check = comparison_checks(LOGITS, limits)
    assert check.failure == failure
    if failure:
        _, other = comparison_checks(LOGITS, limits, "trt")
        assert other.failure == f"trt: {failure}"


def test_polygraphys_verdict_counts() -> None:
    _, check = comparison_checks(replace(LOGITS, passed=False), Limits(atol=0.1, check_error_stat="mean"))
    assert check.failure == "logits differ by at most 0.5, on average 0.1: not within atol 0.1, rtol 0 (mean)"


def test_nan_holds_no_limit() -> None:
    bad = replace(LOGITS, finite=False, cosine=math.nan, sqnr=math.nan, agreement=math.nan)
    checks = comparison_checks(bad, Limits(min_agreement=0.0, min_cosine=-1.0, min_sqnr=-1e9))
    assert [check.passed for check in checks] == [False] * 4


def test_inner_tensors_name_the_first_three() -> None:
    errors = tuple(LayerError(f"t{n}", f"n{n}", "Conv", 10.0 + n, 1.0, 0.1, 1.0, 0.0) for n in range(8))
    found = LayerErrors(errors, 20, 0)
    assert layer_check(found, Limits(layers={"*": 10.0})).passed
    check = layer_check(found, Limits(layers={"*": 15.0, "n0": 0.0}))
    assert check.failure == (
        "4 of 8 inner tensors are below their SQNR, the first t1 (Conv n1) at 11.0 dB of 15, t2 (Conv n2) at"
        " 12.0 dB of 15, t3 (Conv n3) at 13.0 dB of 15 and 1 more"
    )
