"""Many arrays as blocks that stay in the cache.

What moves a network's weights reads and writes every one of them several times. Block by block, all but
the first read come from the cache. Small tensors, of which a network has hundreds, share a block, because
otherwise the calls would cost more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
PIECE = 1 << 15
"""float32 values: five arrays of them are 640 KiB, within a core's second-level cache."""
SMALL = PIECE // 8
"""Tensors up to this size share blocks."""
LINE = 16
"""float32 values in a cache line. A block begins at one: a vector across two takes twice as long to write."""


@dataclass(frozen=True)
class Block:
    """At most :data:`PIECE` elements: a part of one tensor, or several small tensors.

    Attributes:
        names: of the tensors.
        start: of the first element in its tensor; 0 where there are several.
        place: of the block in a flat array that holds all blocks one behind the other.
    """

    names: tuple[str, ...]
    start: int
    place: slice

    @property
    def size(self) -> int:
        return int(self.place.stop - self.place.start)

    def views(self, arrays: Mapping[str, Array]) -> list[Array]:
        """The block's part of each of its tensors: flat, views where those are contiguous."""
        end = self.start + self.size
        return [arrays[name].reshape(-1)[self.start : end] for name in self.names]


def blocks(sizes: Mapping[str, int], offset: int = 0) -> list[Block]:
    """Blocks that cover tensors of the given sizes, each tensor's elements one behind the other.

    Args:
        offset: place of the first block.
    """
    found: list[Block] = []
    small: dict[str, int] = {}

    def close(names: Iterable[str], start: int, size: int) -> None:
        nonlocal offset
        found.append(Block(tuple(names), start, slice(offset, offset + size)))
        offset += -(-size // LINE) * LINE

    for name, size in sizes.items():
        if size > SMALL:
            for start in range(0, size, PIECE):
                close([name], start, min(PIECE, size - start))
            continue
        if sum(small.values()) + size > PIECE:
            close(small, 0, sum(small.values()))
            small = {}
        small[name] = size
    if small:
        close(small, 0, sum(small.values()))
    return found


def scratch(rows: int) -> Array:
    """Room for ``rows`` blocks, shape (rows, PIECE)."""
    return line_aligned(rows * PIECE).reshape(rows, PIECE)


def line_aligned(size: int) -> Array:
    """A flat float32 array of zeros whose data begins at a cache line."""
    buffer = np.zeros(size + LINE, np.float32)
    start = -(buffer.ctypes.data // 4) % LINE
    return buffer[start : start + size]


def places(sizes: Mapping[str, int], layout: Iterable[Block]) -> dict[str, slice]:
    """Where each whole tensor lies in a flat array that holds the blocks of ``layout``."""
    found: dict[str, slice] = {}
    for block in layout:
        start = int(block.place.start)
        for name in block.names:
            if name not in found:
                found[name] = slice(start, start + sizes[name])
            start += sizes[name]
    return found


def gather(views: Sequence[Array], scratch: Array) -> Array:
    """The elements of ``views`` one behind the other: a single view itself, several in ``scratch``."""
    if len(views) == 1:
        return views[0]
    return np.concatenate(views, out=scratch[: sum(view.size for view in views)])


def scatter(values: Array, views: Sequence[Array]) -> None:
    """Bring back what :func:`gather` copied."""
    if len(views) == 1:
        return
    start = 0
    for view in views:
        np.copyto(view, values[start : start + view.size])
        start += view.size


def check_updatable(name: str, values: Array) -> None:
    """Refuse an array of which no flat view can be written to.

    Raises:
        ValueError: not writable, C-contiguous or float32.
    """
    if not values.flags.c_contiguous or not values.flags.writeable or values.dtype != np.float32:
        raise ValueError(f"{name} must be a writable, contiguous float32 array to be updated in place")
