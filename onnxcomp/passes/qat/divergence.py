"""Clipping by relative entropy, as TensorRT's calibrator does.

Of all places to clip, the one at which the quantised distribution is nearest to the real one: Migacz,
"8-bit Inference with TensorRT", GTC 2017, which takes 2,048 bins for 128 levels. A histogram must be much
finer than the levels: with as many bins as levels, ONNX Runtime's default, the whole range is the only
candidate.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BINS = 2048
STRIDE = 4
"""Every fourth place is tried, 1/512 of the largest magnitude apart."""
BLOCK = 128
"""Candidates at a time: their tables stay in the second-level cache."""


def least_divergence(counts: Floats, limit: float, largest: float, levels: int) -> float:
    """The magnitude to clip at.

    Args:
        counts: float64, of the absolute values in equal bins of ``[0, limit)``.
        largest: magnitude; above 0, below ``limit``.
        levels: integers that magnitudes become: 128 for INT8, 256 for UINT8 where nothing is negative.

    Returns:
        The upper edge of a bin, of 2,048 up to ``largest``.
    """
    found = histogram(counts, limit, largest)
    kept = np.arange(BINS, levels - 1, -STRIDE)  # the widest first: of equals it is taken
    return largest * int(kept[np.argmin(divergence(found, kept, levels))]) / BINS


def histogram(counts: Floats, limit: float, largest: float) -> Floats:
    """Of :data:`BINS` equal bins of ``[0, largest]``; float64.

    The first gets the count of the second: a ReLU's many zeros become the integer 0 wherever the rest is
    clipped (as in NVIDIA's pytorch-quantization).
    """
    inside = np.concatenate([[0.0], np.cumsum(counts)])
    edges = np.linspace(0, largest / limit * len(counts), BINS + 1)
    found: Floats = np.diff(np.interp(edges, np.arange(len(inside)), inside))
    found[0] = found[1]
    return found


def divergence(bins: Floats, kept: npt.NDArray[np.intp], levels: int) -> Floats:
    """Relative entropy in nats of clipping behind as many bins as ``kept`` says, each ``levels`` or more.

    P are the bins that stay, with all that is clipped added to the last. Q are the same bins without what is
    clipped, merged to ``levels`` and spread evenly over those of the merged bins that P has. Infinite where Q
    lacks what P has.

    Written as a sum over levels, in which Q is constant, of differences of cumulative sums.
    """
    found = [_divergence(bins, kept[start : start + BLOCK], levels) for start in range(0, len(kept), BLOCK)]
    return np.concatenate(found)


def _divergence(bins: Floats, kept: npt.NDArray[np.intp], levels: int) -> Floats:
    total = bins.sum()
    mass, occupied, entropy = (_upto(values) for values in (bins, bins > 0, _xlogx(bins)))
    edges = -(-kept[:, None] * np.arange(levels + 1) // levels)  # rounded up
    merged, members = np.diff(mass[edges]), np.diff(occupied[edges])
    outside, last = total - mass[kept], bins[kept - 1]
    real = merged.copy()
    real[:, -1] += outside
    members[:, -1] += (last == 0) & (outside > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.log(merged / members)
        cross = np.where(real > 0, real * spread, 0).sum(axis=1) - total * np.log(mass[kept])
        own = entropy[kept] - _xlogx(last) + _xlogx(last + outside) - total * np.log(total)
        found = (own - cross) / total
    return np.where(np.isnan(found), np.inf, found)


def _upto(values: npt.NDArray[np.generic]) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])


def _xlogx(values: Floats) -> Floats:
    return values * np.log(np.where(values > 0, values, 1))
