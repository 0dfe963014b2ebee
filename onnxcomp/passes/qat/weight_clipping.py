"""Weight scales of least squared error, one for each output channel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
LOWEST = {2: 0.1, 3: 0.2, 4: 0.3, 5: 0.35, 6: 0.4, 7: 0.45, 8: 0.5}
"""By bits, the least limit that is tried, as a share of the largest magnitude."""
COARSE, FINE = 13, 17
"""How many limits are tried from there to the largest magnitude, and how many around the best of them."""
ROUNDS = 2
BLOCK = 2**15
"""Weights that are worked on at once: they stay in the second-level cache."""


def least_squares_factors(rows: Floats, scales: Floats, bits: int) -> Floats:
    """Of each row, the factor on its scale that gives the least squared error.

    A search over limits ("MSE" of Nagel et al. 2021, arXiv 2106.08295, section 3.1), in which the integers
    ``q`` of a candidate give the best scale for them, ``sum(w q) / sum(q q)``; then from the best of all
    rounding and solving in turns, which never increases the error (Hwang and Sung 2014, "Fixed-point
    feedforward deep neural network design using weights +1, 0, and -1", SiPS).

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
        found[part] = _factors(rows[part] / scales[part, None], bits)
    return found


def _factors(units: Floats, bits: int) -> Floats:
    """Of rows in units of their scales."""
    levels = 2 ** (bits - 1) - 1
    work = np.empty_like(units)
    coarse = np.linspace(LOWEST[bits], 1, COARSE, dtype=np.float32)
    shape = (len(units), 1)
    best, solved = _search(units, np.broadcast_to(coarse, (len(units), COARSE)), levels, work)
    around = np.linspace(-1, 1, FINE, dtype=np.float32) * (coarse[1] - coarse[0])
    _, solved = _search(units, np.minimum(best.reshape(shape) + around, 1), levels, work)
    for _ in range(ROUNDS):
        solved, _ = _solve(units, solved, levels, work)
    return solved


def _search(units: Floats, factors: Floats, levels: int, work: Floats) -> tuple[Floats, Floats]:
    """Of each row the best of its candidates, (R, n), and the factor that its integers ask for; both (R,)."""
    found = [_solve(units, factors[:, index], levels, work) for index in range(factors.shape[1])]
    solved, gains = np.array([one for one, _ in found]), np.array([gain for _, gain in found])
    best = np.argmax(gains, axis=0)
    rows = np.arange(len(units))
    return factors[rows, best], solved[best, rows]


def _solve(units: Floats, factors: Floats, levels: int, work: Floats) -> tuple[Floats, Floats]:
    """The best factor for the integers that ``factors`` give, and the squares that it explains."""
    np.multiply(units, (1 / factors)[:, None], out=work)
    np.rint(work, out=work)
    np.clip(work, -levels, levels, out=work)
    product = np.einsum("rk,rk->r", units, work)
    norm = np.einsum("rk,rk->r", work, work)
    safe = np.maximum(norm, 1)  # a row of zeros
    return np.where(norm > 0, product / safe, np.float32(1)), product * product / safe
