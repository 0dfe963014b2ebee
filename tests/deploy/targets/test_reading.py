from __future__ import annotations

from pathlib import Path

import pytest

from onnxcomp.deploy.targets import TARGETS, Rates, get_target
from onnxcomp.errors import OnnxcompError


def own(folder: Path, text: str) -> str:
    path = folder / "board.yaml"
    path.write_text(text)
    return str(path)


def test_a_target_of_ones_own_says_what_differs(tmp_path: Path) -> None:
    found = get_target(own(tmp_path, "like: orin\nbandwidth: 100e+9\nrates: {int8: 40.0e+12, sparse: 2}\n"))
    assert found.name == "board"
    assert found.bandwidth == 100e9
    assert found.rates == Rates(int8=40e12, sparse=2.0)
    assert found.tensorrt == TARGETS["orin"].tensorrt


def test_one_that_is_like_no_other_says_all(tmp_path: Path) -> None:
    text = (
        "name: mine\ndescription: a board\ndevice: board\nmax_opset: 17\nweights: float\nactivations: int8\n"
        "placement: tensorrt\nsparsity: none\nalignment: 32\ntwo_four: null\ntensorrt: [8, 6, 1]\n"
    )
    found = get_target(own(tmp_path, text))
    assert (found.name, found.tensorrt, found.rates) == ("mine", (8, 6, 1), None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("like: orinn\n", "board.yaml: is like orinn, which is no target; choose xavier, "),
        ("like: [orin]\n", "board.yaml: is like ['orin'], which is no target"),
        ("like: orin\nbandwith: 1\n", "board.yaml: bandwith: Unexpected keyword argument"),
        ("like: orin\nbandwidth: -1\n", "board.yaml: bandwidth: Input should be greater than 0"),
        ("like: orin\nbandwidth: fast\n", "board.yaml: bandwidth: Input should be a valid number"),
        ("like: orin\nrates: {int9: 1}\n", "board.yaml: rates.int9: Unexpected keyword argument"),
        ("like: orin\nrates: {int8: .nan}\n", "board.yaml: rates.int8: Input should be"),
        ("like: orin\nweights: int4\n", "board.yaml: weights: Input should be 'float' or 'int8'"),
        ("like: orin\ntensorrt: [8]\n", "board.yaml: tensorrt.1: Field required"),
        ("name: mine\n", "board.yaml: description: Field required"),
        ("- like: orin\n", "board.yaml: holds no target"),
        ("", "board.yaml: holds no target"),
        ("a: 2020-99-99", "board.yaml: is no YAML file (month must be in 1..12"),
        ("a: [", "board.yaml: is no YAML file (while parsing"),
        ("!!python/object:os.system {}", "board.yaml: is no YAML file (could not determine a constructor"),
    ],
)
def test_what_is_no_target_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(OnnxcompError) as error:
        get_target(own(tmp_path, text))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(OnnxcompError, match=r"^none.yaml: there is no such file; check the path$"):
        get_target("none.yaml")
