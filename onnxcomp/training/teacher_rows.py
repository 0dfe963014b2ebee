"""What is read of a teacher for one image, as a row of bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Column:
    """One tensor of a row.

    Attributes:
        name: of the tensor.
        dtype: numpy's name of it; booleans take a bit each.
        shape: without the batch.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes of an image."""
        count = math.prod(self.shape)
        return -(-count // 8) if self.dtype == "bool" else count * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class Rows:
    """The layout of rows: the columns one behind the other."""

    columns: tuple[Column, ...]

    @classmethod
    def of(cls, hidden: Mapping[str, NDArray[Any]]) -> Rows:
        """The layout for arrays whose first axis is the batch."""
        return cls(tuple(Column(name, str(a.dtype), a.shape[1:]) for name, a in sorted(hidden.items())))

    @property
    def size(self) -> int:
        """Bytes of a row."""
        return sum(column.size for column in self.columns)

    def pack(self, hidden: Mapping[str, NDArray[Any]]) -> Bytes:
        """Rows, uint8 (B, :attr:`size`), of arrays by name, each (B, ...)."""
        return np.concatenate([_bytes(hidden[column.name]) for column in self.columns], axis=1)

    def unpack(self, rows: Bytes) -> dict[str, NDArray[Any]]:
        """What :meth:`pack` was given."""
        found: dict[str, NDArray[Any]] = {}
        start = 0
        for column in self.columns:
            part = np.ascontiguousarray(rows[:, start : start + column.size])
            start += column.size
            if column.dtype == "bool":
                values = np.unpackbits(part, axis=1, count=math.prod(column.shape)).view(np.bool_)
            else:
                values = part.view(column.dtype)
            found[column.name] = values.reshape(len(rows), *column.shape)
        return found


def _bytes(array: NDArray[Any]) -> Bytes:
    flat = np.ascontiguousarray(array).reshape(len(array), -1)
    return np.packbits(flat, axis=1) if array.dtype == np.bool_ else flat.view(np.uint8)


def description(columns: Sequence[Column]) -> list[list[object]]:
    """Columns as JSON."""
    return [[column.name, column.dtype, list(column.shape)] for column in columns]
