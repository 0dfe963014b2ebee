"""The random numbers of images: those of an image depend on its place in the epoch, not on its batch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WORDS = 4
"""Numbers that one count of Philox gives (Salmon et al., Parallel random numbers, SC 2011)."""
NOT_THE_ORDER = 1
"""The order of an epoch comes from [seed, epoch], and a seed sequence is padded with zeros."""


def uniforms(seed: int, epoch: int, first: int, count: int, width: int) -> NDArray[np.float64]:
    """``width`` numbers for each of the images at ``first`` to ``first + count - 1`` of an epoch.

    Philox is counter-based: the generator is set to where the first image's numbers begin, so any
    partition of an epoch into batches gives every image the same numbers.

    Returns:
        float64 of shape (count, width), uniform in [0, 1).
    """
    blocks = -(-width // WORDS)
    key = np.random.SeedSequence([seed, epoch, NOT_THE_ORDER]).generate_state(2, np.uint64)
    rng = np.random.Generator(np.random.Philox(key=key, counter=first * blocks))
    return rng.random((count, blocks * WORDS))[:, :width]


def integers(numbers: NDArray[np.float64], stop: int) -> list[int]:
    """Uniform numbers of [0, 1) as uniform integers 0 to ``stop - 1``."""
    chosen: list[int] = np.floor(numbers * stop).astype(np.int64).tolist()
    return chosen
