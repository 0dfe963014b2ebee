"""Which weights go together: each by itself, N of every M inputs, or blocks.

A pattern sees a weight as (outputs, inputs, ...): the axis of the output channels first, the axis that is
summed over second, then the positions of the kernel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
LARGEST = 1024
"""Weights in a group or along a side of a block, at most."""


class Pattern(Protocol):
    """Units of a weight that are closed as a whole."""

    @property
    def size(self) -> int:
        """Weights in a unit."""

    @property
    def gone(self) -> int:
        """Weights that closing a unit closes."""

    @property
    def zeros(self) -> float:
        """Share of a unit that goes: ``gone / size``."""

    def obstacle(self, outputs: int, inputs: int) -> str:
        """Why a weight cannot have the pattern, or ``""``.

        Args:
            outputs, inputs: channels along the first two axes, of one group of a grouped convolution.
        """

    def costs(self, scores: Array) -> Array:
        """What closing each unit loses: float32 (units,), the sum of the scores of what goes.

        Args:
            scores: float32 (outputs, inputs, ...).
        """

    def close(self, mask: Array, scores: Array, chosen: Flags) -> None:
        """Write zeros into ``mask``, in place, in the units that are ``chosen``.

        Args:
            mask, scores: float32 (outputs, inputs, ...); ties are broken by position.
            chosen: bool (units,), in the order of :meth:`costs`.
        """


@dataclass(frozen=True)
class Unstructured:
    """Each weight by itself."""

    size: int = 1
    gone: int = 1
    zeros: float = 1.0

    def obstacle(self, outputs: int, inputs: int) -> str:
        return ""

    def costs(self, scores: Array) -> Array:
        return scores.reshape(-1)

    def close(self, mask: Array, scores: Array, chosen: Flags) -> None:
        np.copyto(mask, 0, where=chosen.reshape(mask.shape))


@dataclass(frozen=True)
class NM:
    """``kept`` of every ``size`` consecutive inputs of one output at one position stay.

    Those of the largest scores, which loses least in every group. 2:4 is what the sparse tensor cores of
    Ampere and later GPUs read (Mishra et al. 2021, arXiv 2104.08378).
    """

    kept: int
    size: int

    @property
    def gone(self) -> int:
        return self.size - self.kept

    @property
    def zeros(self) -> float:
        return self.gone / self.size

    def obstacle(self, outputs: int, inputs: int) -> str:
        return _rest(inputs, self.size, "input")

    def costs(self, scores: Array) -> Array:
        parts = self._parts(scores)
        found = np.zeros(parts[0].shape, np.float32)
        for part, falls in zip(parts, self._falling(parts), strict=True):
            found += np.where(falls, part, np.float32(0))
        return found

    def close(self, mask: Array, scores: Array, chosen: Flags) -> None:
        groups = self._groups(mask)
        for place, falls in enumerate(self._falling(self._parts(scores))):
            part = groups[:, :, place]
            np.copyto(part, 0, where=(falls & chosen).reshape(part.shape))

    def _groups(self, values: Array) -> Array:
        """A view (outputs, groups, size, ...)."""
        outputs, inputs, *rest = values.shape
        return values.reshape(outputs, inputs // self.size, self.size, *rest)

    def _parts(self, scores: Array) -> list[Array]:
        """The first of every group, flat, then the second of every group, and so on."""
        groups = self._groups(scores)
        return [groups[:, :, place].ravel() for place in range(self.size)]

    def _falling(self, parts: list[Array]) -> list[Flags]:
        """Which are among the smallest of their group, by how many of it go before them."""
        ranks = [np.zeros(parts[0].shape, np.uint16 if self.size > 255 else np.uint8) for _ in parts]
        for second in range(1, self.size):
            for first in range(second):
                before = parts[first] <= parts[second]
                ranks[second] += before
                ranks[first] += ~before
        return [rank < self.gone for rank in ranks]


@dataclass(frozen=True)
class Blocks:
    """``rows`` consecutive outputs times ``columns`` consecutive inputs at one position."""

    rows: int
    columns: int

    @property
    def size(self) -> int:
        return self.rows * self.columns

    @property
    def gone(self) -> int:
        return self.size

    @property
    def zeros(self) -> float:
        return 1.0

    def obstacle(self, outputs: int, inputs: int) -> str:
        return _rest(outputs, self.rows, "output") or _rest(inputs, self.columns, "input")

    def costs(self, scores: Array) -> Array:
        found: Array = self._blocks(scores).sum(axis=(1, 3), dtype=np.float32)
        return found.reshape(-1)

    def close(self, mask: Array, scores: Array, chosen: Flags) -> None:
        blocks = self._blocks(mask)
        outer, _, inner, _, *rest = blocks.shape
        np.copyto(blocks, 0, where=chosen.reshape(outer, 1, inner, 1, *rest))

    def _blocks(self, values: Array) -> Array:
        """A view (blocks of outputs, rows, blocks of inputs, columns, ...)."""
        outputs, inputs, *rest = values.shape
        return values.reshape(outputs // self.rows, self.rows, inputs // self.columns, self.columns, *rest)


def _rest(channels: int, size: int, what: str) -> str:
    """That ``channels`` are no multiple of ``size``, or ``""``."""
    are = f"{what} is" if channels == 1 else f"{what}s are"
    return f"{channels} {are} not divisible by {size}" if channels % size else ""


def parse(text: str) -> Pattern:
    """Read ``unstructured``, ``N:M`` (N of M are kept) or ``RxC`` (blocks of outputs times inputs).

    Raises:
        ValueError: it is none of them, or a number is out of range.
    """
    if text == "unstructured":
        return Unstructured()
    match = re.fullmatch(r"([0-9]{1,9})([:x])([0-9]{1,9})", text)
    if not match:
        raise ValueError("give unstructured, N:M such as 2:4, or blocks such as 4x1")
    first, second = int(match[1]), int(match[3])
    if max(first, second) > LARGEST:
        raise ValueError(f"numbers up to {LARGEST} are possible")
    if match[2] == "x":
        if first < 1 or second < 1 or first * second == 1:
            raise ValueError("a block has two sides of at least 1, one of them longer")
        return Blocks(first, second)
    if not 0 < first < second:
        raise ValueError(f"it keeps {first} of {second} weights; N:M needs 0 < N < M")
    return NM(first, second)
