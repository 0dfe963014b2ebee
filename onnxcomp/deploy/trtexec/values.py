"""Tensors to and from trtexec: raw files for ``--loadInputs``, the JSON of ``--exportOutput``.

A raw file holds the values in C order, little endian, in the engine's type for that input, and nothing else
("trtexec" in NVIDIA's guide; ``loadFromFile`` in samples/common/sampleUtils.h of NVIDIA/TensorRT). The JSON
is what ``exportJSONOutput`` of sampleReporting.cpp there writes: six significant digits, names as they are
(not escaped), ``nan`` and ``inf`` as C++ prints them. So it is read by rules of its own, not as JSON.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from onnxcomp.errors import OnnxcompError
from onnxcomp.files import write_atomically

Array = npt.NDArray[Any]
Values = npt.NDArray[np.float64]
DTYPES = ("float32", "float16", "int64", "int32", "int8", "uint8", "bool")
OUTPUT = re.compile(
    r'\{\s*"name"\s*:\s*"([^\n]*?)"\s*,\s*"dimensions"\s*:\s*"([^"\n]*)"\s*,\s*"values"\s*:\s*\[([^\]]*)\]\s*\}'
)
DIMENSIONS = re.compile(r"\d{1,9}(?:x\d{1,9}){0,15}")
FIX = "run it again; the file may be cut off by a full disk"


class ValuesError(OnnxcompError):
    """A tensor that trtexec cannot be given, or an output file that is damaged."""


def input_bytes(array: Array, name: str) -> bytes:
    """An input as trtexec reads it.

    Args:
        array: any shape; one of :data:`DTYPES`.
        name: of the input, for the error.

    Raises:
        ValuesError: the type is none that trtexec reads.
    """
    if array.dtype.name not in DTYPES:
        raise ValuesError(
            f"trtexec reads no {array.dtype.name}",
            where=name,
            fix=f"convert it to one of {', '.join(DTYPES)}",
        )
    return np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()


def write_input(path: Path, array: Array, name: str) -> None:
    """Write an input for ``--loadInputs``.

    Raises:
        ValuesError: the type is none that trtexec reads.
        OnnxcompError: the file cannot be written.
    """
    data = input_bytes(array, name)

    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomically(path, write)


def read_outputs(path: Path, expected: Iterable[str] = ()) -> dict[str, Values]:
    """The outputs in a file of ``--exportOutput``.

    Args:
        expected: names of outputs that must be there.

    Returns:
        Each output by its name, float64 of the shape that trtexec says. Six significant digits were
        written: a relative error up to 5e-6.

    Raises:
        ValuesError: the file cannot be read, is damaged, or lacks an output.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ValuesError(f"cannot be read ({error.strerror})", where=str(path), fix=FIX) from error
    outputs = parse_outputs(text, str(path))
    for name in expected:
        if name not in outputs:
            raise ValuesError(f"holds no output {name!r}", where=str(path), fix=FIX)
    return outputs


def parse_outputs(text: str, where: str) -> dict[str, Values]:
    """As :func:`read_outputs`, from the text.

    Raises:
        ValuesError: it is damaged.
    """
    found = [_output(match, where) for match in OUTPUT.finditer(text)]
    if not found or not text.rstrip().endswith("]") or text.count('"dimensions"') != len(found):
        raise ValuesError("is not what trtexec writes for --exportOutput", where=where, fix=FIX)
    return dict(found)


def _output(match: re.Match[str], where: str) -> tuple[str, Values]:
    name, dimensions, numbers = match.groups()
    if dimensions and not DIMENSIONS.fullmatch(dimensions):
        raise ValuesError(f"{name!r} has the shape {dimensions!r}", where=where, fix=FIX)
    shape = tuple(int(size) for size in dimensions.split("x")) if dimensions else ()
    try:
        values = np.array(
            [float(number) for number in numbers.split(",")] if numbers.strip() else [], np.float64
        )
    except ValueError as error:
        raise ValuesError(f"{name!r} holds something that is no number", where=where, fix=FIX) from error
    if values.size != math.prod(shape):
        raise ValuesError(
            f"{name!r} has {values.size} values, not the {math.prod(shape)} of {dimensions}",
            where=where,
            fix=FIX,
        )
    return name, values.reshape(shape)
