"""Weight scales of least squared error, one for each output channel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
LOWEST = {2: 0.1, 3: 0.2, 4: 0.3, 5: 0.35, 6: 0.4, 7: 0.45, 8: 0.5}
"""By bits, the least limit that is tried, as a share of the largest magnitude."""
COARSE, FINE = 13, 17
"""How many limits are tried from there to the largest magnitude, and around the best of them."""
WEIGHTS, MOST, WIDEST = 2**13, 513, 1.25
"""In short rows (depthwise convolutions) luck in rounding is a large part of the error. There as many limits
are tried as make this many weights, at most this many, up to so many times the largest magnitude."""
ROUNDS = 2
BLOCK = 2**15
"""Weights that are worked on at once: they stay in the second-level cache."""


def least_squares_factors(rows: Floats, scales: Floats, bits: int) -> Floats:
    """Of each row, the factor on its scale that gives the least squared error.

    A search over limits ("MSE" of Nagel et al. 2021, arXiv 2106.08295, section 3.1); then from the best of
    them rounding and solving in turns, ``sum(w q) / sum(q q)`` being the best scale for integers ``q``, which
    never increases the error (Hwang and Sung 2014, "Fixed-point feedforward deep neural network design using
    weights +1, 0, and -1", SiPS).

    Args:
        rows: float32 (R, K).
        scales: float32 (R,), above 0: those at which nothing clips.
        bits: 2 to 8.

    Returns:
        float32 (R,), above 0.
    """
    found = np.ones(len(rows), np.float32)
    step = max(1, BLOCK // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        found[part] = _Block(rows[part] / scales[part, None], 2 ** (bits - 1) - 1).best(LOWEST[bits])
    return found


class _Block:
    """Rows (R, K) in units of their scales, and room for what is computed of them."""

    def __init__(self, units: Floats, levels: int) -> None:
        self._units, self._levels = units, levels
        self._integers, self._rest = np.empty_like(units), np.empty_like(units)

    def best(self, lowest: float) -> Floats:
        """The best factor of each row, float32 (R,)."""
        rows, length = self._units.shape
        count = min(MOST, WEIGHTS // max(1, length))
        widest, count = (WIDEST, count) if count > 4 * COARSE else (1, COARSE)
        coarse = np.append(np.linspace(lowest, widest, count, dtype=np.float32), np.float32(1))
        found = self._search(np.broadcast_to(coarse, (rows, len(coarse))))
        around = np.linspace(-1, 1, FINE, dtype=np.float32) * (coarse[1] - coarse[0])
        found = self._search(found[:, None] + around)
        for _ in range(ROUNDS):
            found = self._solve(found)
        return found

    def _round(self, factors: Floats) -> None:
        """Integers, and what rounding and clipping leave of the rows in units of a step; both (R, K)."""
        np.multiply(self._units, (1 / factors)[:, None], out=self._rest)
        np.rint(self._rest, out=self._integers)
        np.clip(self._integers, -self._levels, self._levels, out=self._integers)
        self._rest -= self._integers

    def _search(self, factors: Floats) -> Floats:
        """Of each row the best of its candidates, (R, n): (R,)."""
        errors = np.empty(factors.T.shape, np.float32)
        for index, column in enumerate(factors.T):
            self._round(column)
            errors[index] = np.einsum("rk,rk->r", self._rest, self._rest) * column**2
        found: Floats = factors[np.arange(len(factors)), np.argmin(errors, axis=0)]
        return found

    def _solve(self, factors: Floats) -> Floats:
        """The best factor for the integers that ``factors`` give."""
        self._round(factors)
        norm = np.einsum("rk,rk->r", self._integers, self._integers)
        moved = np.einsum("rk,rk->r", self._rest, self._integers) / np.maximum(norm, 1)  # 0 in a row of zeros
        found: Floats = factors * (1 + moved)
        return found
