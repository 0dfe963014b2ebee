"""Reading CIFAR-10's pickled batches as data: no class or function that a pickle names is run.

A pickle is a program. Here its numpy array is rebuilt by stand-ins that only keep what they are
given; any other name is refused, and lengths are checked before anything is allocated.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcomp.errors import DataError

FIX = "download cifar-10-python.tar.gz from its authors"


class _DType:
    def __init__(self, code: str | bytes, *options: object) -> None:
        self.code = code.encode() if isinstance(code, str) else code

    def __setstate__(self, state: object) -> None:
        """Byte order and the like: nothing that a dtype of one byte needs."""


class _Array:
    def __init__(self, *arguments: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def rows(self) -> NDArray[np.uint8]:
        """The array of shape (N, 3072), or ValueError."""
        _, (count, columns), dtype, by_column, data = self.state
        if dtype.code != b"u1" or columns != 3072 or by_column or len(data) != count * columns:
            raise ValueError("not a uint8 array of rows of 3072")
        return np.frombuffer(data, np.uint8).reshape(count, columns)


class _Unpickler(pickle.Unpickler):
    STAND_INS = {  # noqa: RUF012 - read only
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "dtype"): _DType,
        ("numpy", "ndarray"): "ndarray",
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self.STAND_INS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it names {module}.{name}") from None


def read_batch(data: bytes, where: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A batch of the archive's Python version.

    Returns:
        uint8 of shape (N, 3072), channel by channel, and int64 of shape (N,).

    Raises:
        DataError: damaged, or it names something else than a numpy array.
    """
    try:
        _check_lengths(data)
        batch = _Unpickler(io.BytesIO(data), encoding="bytes").load()
        images = batch[b"data" if b"data" in batch else "data"].rows()
        labels = batch[b"labels" if b"labels" in batch else "labels"]
        if len(labels) != len(images) or not all(type(label) is int for label in labels):
            raise ValueError("its labels do not match its images")
        return images, np.array(labels, np.int64)
    except pickle.UnpicklingError as error:
        raise DataError(f"refused to load it: {error}", where=where, fix=FIX) from error
    except Exception as error:  # a damaged pickle raises whatever its opcodes run into
        raise DataError("not a CIFAR-10 batch, or a damaged one", where=where, fix=FIX) from error


def _check_lengths(data: bytes) -> None:
    """Walk the opcodes without running them: a string is as long as it says, a memo index small."""
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise ValueError("a memo index out of range")
