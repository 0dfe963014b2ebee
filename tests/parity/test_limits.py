from __future__ import annotations

import math
from pathlib import Path

import pytest

from onnxcomp.errors import OnnxcompError
from onnxcomp.parity.comparator import Tolerance
from onnxcomp.parity.limits import Limits, read_limits


def test_a_file_holds_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(
        "max_drop: 1\ndrop_by: upper\nconfidence: 90\nmin_agreement: 98\nmin_cosine: 0.99\nmin_sqnr: 20\n"
        "atol: 0.1\nrtol: 0.01\ncheck_error_stat: mean\nlayers:\n  '*': 10\n  block4.*: 15.5\n"
    )
    expected = Limits(1, "upper", 90, 98, 0.99, 20, 0.1, 0.01, "mean", {"*": 10, "block4.*": 15.5})
    assert read_limits(path, {}) == expected
    assert expected.tolerance == Tolerance(0.1, 0.01, "mean")


def test_options_go_before_the_file(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text("max_drop: 1\nmin_sqnr: 20\n")
    assert read_limits(path, {"max_drop": 0.25, "min_sqnr": None}) == Limits(0.25, min_sqnr=20)


def test_no_limit_of_the_drop(tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text("max_drop: null\n")
    assert read_limits(path, {}).max_drop is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_dorp: 1\n", "max_dorp: Unexpected keyword argument"),
        ("max_drop: much\n", "max_drop: Input should be a valid number"),
        ("drop_by: middle\n", "drop_by: Input should be 'lower', 'estimate' or 'upper'"),
        ("layers:\n  conv1: low\n", "layers.conv1: Input should be a valid number"),
        ("- max_drop\n", "holds no limits"),
        ("max_drop: [\n", "is no YAML file"),
        ("1: 2\n", "holds no limits"),
    ],
)
def test_a_damaged_file_is_told(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "limits.yaml"
    path.write_text(text)
    with pytest.raises(OnnxcompError, match=f"limits.yaml: {message}") as error:
        read_limits(path, {})
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OnnxcompError, match="there is no such file"):
        read_limits(tmp_path / "no.yaml", {})


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_drop": math.nan}, "--max-drop: nan is no limit"),
        ({"layers": {"conv1": math.nan}}, "layers: conv1: nan is no limit"),
        ({"atol": -1.0}, "--atol: -1 is below 0"),
        ({"confidence": 100.0}, "--confidence: 100 % is no confidence"),
    ],
)
def test_what_is_no_limit_is_refused(limits: dict, message: str) -> None:
    with pytest.raises(OnnxcompError, match=message):
        Limits(**limits)


def test_one_tolerance_leaves_the_other_at_0() -> None:
    assert Limits(atol=0.5).tolerance == Tolerance(0.5, 0.0, "elemwise")
    assert Limits(rtol=0.5).tolerance == Tolerance(0.0, 0.5, "elemwise")
    assert Limits().tolerance is None
