"""What a user error looks like."""

from __future__ import annotations

import inspect

import pytest

from onnxcomp import errors
from onnxcomp.errors import OnnxcompError

FAMILY = [kind for kind in vars(errors).values() if inspect.isclass(kind)]


@pytest.mark.parametrize(
    ("where", "fix", "line"),
    [
        ("", "", "is a folder"),
        ("m.onnx", "", "m.onnx: is a folder"),
        ("", "name a file", "is a folder; name a file"),
        ("m.onnx", "name a file", "m.onnx: is a folder; name a file"),
    ],
)
def test_line_says_where_what_and_how_to_mend_it(where: str, fix: str, line: str) -> None:
    assert str(OnnxcompError("is a folder", where=where, fix=fix)) == line


def test_message_of_another_library_becomes_one_line() -> None:
    error = OnnxcompError("not valid:\n  [ShapeInferenceError]\n\n  (op: Conv)", where="a b.onnx")
    assert str(error) == "a b.onnx: not valid: [ShapeInferenceError] (op: Conv)"


def test_parts_stay_readable() -> None:
    error = OnnxcompError("what", where="where", fix="fix")
    assert (error.what, error.where, error.fix) == ("what", "where", "fix")
    assert error.args == ("where: what; fix",)


@pytest.mark.parametrize("kind", FAMILY)
def test_every_error_is_of_the_family_and_says_what_it_is(kind: type[Exception]) -> None:
    assert issubclass(kind, OnnxcompError)
    assert kind.__doc__
    assert kind.__name__.endswith("Error")
