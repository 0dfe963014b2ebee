"""Tensors to and from trtexec."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp.deploy.trtexec.values import (
    DTYPES,
    ValuesError,
    input_bytes,
    parse_outputs,
    read_outputs,
    write_input,
)

# As exportJSONOutput of samples/common/sampleReporting.cpp lays it out.
TWO = """\
[
  { "name" : "logits"
  , "dimensions" : "2x3"
  , "values" : [ 1, -2.5e-05, 3.25, nan, -inf, 6 ]
  }
, { "name" : "a "quoted" one, not escaped"
  , "dimensions" : "1"
  , "values" : [ 7 ]
  }
]
"""


def test_outputs_as_trtexec_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    path.write_text(TWO)
    outputs = read_outputs(path, ["logits"])
    expected = np.array([[1, -2.5e-05, 3.25], [math.nan, -math.inf, 6]])
    np.testing.assert_array_equal(outputs["logits"], expected)
    assert outputs["logits"].dtype == np.float64
    np.testing.assert_array_equal(outputs['a "quoted" one, not escaped'], [7])


@pytest.mark.parametrize("name", DTYPES)
def test_inputs_are_raw_in_c_order(name: str, tmp_path: Path) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(name)
    path = tmp_path / "x.bin"
    write_input(path, array.transpose(0, 2, 1), "x")
    assert path.stat().st_size == array.nbytes
    np.testing.assert_array_equal(np.fromfile(path, name).reshape(2, 4, 3), array.transpose(0, 2, 1))


def test_inputs_are_little_endian() -> None:
    assert input_bytes(np.array([1], ">f4"), "x") == b"\0\0\x80\x3f"


def test_a_type_that_trtexec_does_not_read_is_refused() -> None:
    with pytest.raises(ValuesError, match=r"^x: trtexec reads no float64; convert it to one of float32"):
        input_bytes(np.zeros(3), "x")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not what trtexec writes"),
        (TWO[:-40], "is not what trtexec writes"),
        (TWO[:-3], "is not what trtexec writes"),
        ("\0\xffno JSON {{{", "is not what trtexec writes"),
        (TWO.replace("2x3", "2x4"), "'logits' has 6 values, not the 8 of 2x4"),
        (TWO.replace("2x3", "2xN"), "'logits' has the shape '2xN'"),
        (TWO.replace("3.25", "3,25x"), "'logits' holds something that is no number"),
    ],
)
def test_damaged_files_are_an_error_naming_the_file(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    path.write_text(text)
    with pytest.raises(ValuesError, match=says) as caught:
        read_outputs(path)
    assert str(caught.value).startswith(str(path))


def test_a_missing_file_and_a_missing_output_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "o.json"
    with pytest.raises(ValuesError, match="cannot be read"):
        read_outputs(path)
    path.write_text(TWO)
    with pytest.raises(ValuesError, match="holds no output 'other'"):
        read_outputs(path, ["logits", "other"])


@given(
    st.text() | st.builds(lambda at, noise: TWO[:at] + noise + TWO[at + 1 :], st.integers(0, 250), st.text())
)
def test_any_text_gives_outputs_or_the_modules_error(text: str) -> None:
    try:
        outputs = parse_outputs(text, "o.json")
    except ValuesError:
        return
    assert outputs
    assert all(isinstance(values, np.ndarray) for values in outputs.values())


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_six_digits_come_back(values: list[float]) -> None:
    numbers = ", ".join(f"{value:g}" for value in values)
    text = (
        f'[\n  {{ "name" : "y"\n  , "dimensions" : "{len(values)}"\n  , "values" : [ {numbers} ]\n  }}\n]\n'
    )
    found = parse_outputs(text, "o.json")["y"]
    np.testing.assert_allclose(found, values, rtol=5e-6, atol=0)  # half a unit of the sixth digit
