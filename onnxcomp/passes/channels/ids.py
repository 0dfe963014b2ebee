"""Channels as numbers: which of them can only be removed together, and which cannot be removed at all."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.int64]
FIXED = -1
"""In place of a number: a position that is no channel and stays."""


class Ids:
    """Disjoint sets of channel numbers (union-find), each free or kept for a reason."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._table: Array | None = None
        self._reasons: dict[int, str] = {}

    def fresh(self, count: int) -> Array:
        """``count`` new numbers, int64."""
        self._table = None
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count, dtype=np.int64)

    def root(self, number: int) -> int:
        """The number that stands for the set of ``number``."""
        parent = self._parent
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    def roots(self, numbers: Array) -> Array:
        """:meth:`root` of each; :data:`FIXED` stays. Same shape."""
        if self._table is None:
            self._table = self._all_roots()
        found: Array = self._table[numbers]
        return found

    def free_roots(self, numbers: Array) -> Array:
        """:meth:`roots`, with :data:`FIXED` for those that are kept."""
        found = self.roots(numbers)
        kept = [number for number in self._reasons if self.root(number) == number]
        return np.where(np.isin(found, kept), FIXED, found)

    def _all_roots(self) -> Array:
        """The root of every number, and FIXED last, where index -1 finds it."""
        parent = np.array(self._parent, np.int64)
        while not np.array_equal(parent, roots := parent[parent]):
            parent = roots
        return np.append(parent, FIXED)

    def join(self, left: Array, right: Array, reason: str) -> None:
        """Let each of ``left`` only be removed together with its counterpart; shapes broadcast.

        Args:
            reason: why a channel that meets a fixed position is kept.
        """
        left, right = np.broadcast_arrays(left, right)
        for a, b in {(int(a), int(b)) for a, b in zip(left.flat, right.flat, strict=True) if a != b}:
            if a == FIXED or b == FIXED:
                self.keep(np.array([max(a, b)]), reason)
            else:
                self._join(a, b)

    def _join(self, a: int, b: int) -> None:
        a, b = sorted((self.root(a), self.root(b)))
        if a != b:
            self._table = None
            self._parent[b] = a
            reason = self._reasons.pop(b, "")
            if reason:
                self._reasons.setdefault(a, reason)

    def keep(self, numbers: Array, reason: str) -> None:
        """Never remove these, for ``reason``; the first reason given stands."""
        for number in np.unique(numbers):
            if number != FIXED:
                self._reasons.setdefault(self.root(int(number)), reason)

    def reason(self, number: int) -> str:
        """Why ``number`` is kept, or ``""`` if it may go."""
        return self._reasons.get(self.root(number), "")
