"""Relative entropy of clipping, against the scheme as its authors wrote it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from onnxcomp.passes.qat.divergence import BINS, divergence, histogram, least_divergence
from tests.passes.qat import activations

counts = hnp.arrays(np.float64, st.integers(16, 40), elements=st.integers(0, 9).map(float))


def naive(bins: np.ndarray, levels: int) -> np.ndarray:
    """Bin by bin: every place to clip, every level, every bin in it."""
    found = []
    for kept in range(levels, len(bins) + 1):
        real = bins[:kept].copy()
        real[-1] += bins[kept:].sum()
        merged = np.zeros(kept)
        for level in range(levels):
            inside = [i for i in range(kept) if level * kept <= i * levels < (level + 1) * kept]
            taken = [i for i in inside if real[i]]
            for i in taken:
                merged[i] = bins[inside].sum() / len(taken)
        if any(real[i] and not merged[i] for i in range(kept)) or not merged.any():
            found.append(np.inf)
            continue
        p, q = real[real > 0] / real.sum(), merged[real > 0] / merged.sum()
        found.append(float((p * np.log(p / q)).sum()))
    return np.array(found)


@given(bins=counts, levels=st.sampled_from([4, 7, 16]))
def test_divergences_are_those_of_the_plain_scheme(bins: np.ndarray, levels: int) -> None:
    expected = naive(bins, levels)
    found = divergence(bins, np.arange(levels, len(bins) + 1), levels)
    assert len(found) == len(expected)
    # Sums of at most 40 terms in float64.
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("levels", [128, 256])
@pytest.mark.parametrize("name", ["normal", "heavy", "relu"])
def test_the_clip_is_that_of_the_plain_scheme_at_full_size(name: str, levels: int) -> None:
    seen = activations.observed(activations.values(name))
    bins = histogram(seen.magnitudes, seen.limit, seen.largest)
    assert bins[0] == bins[1]
    places = np.arange(BINS, levels - 1, -4)
    # The plain scheme at one place to clip: all behind it in the last bin.
    expected = [single(np.append(bins[:kept], bins[kept:].sum()), levels) for kept in places]
    np.testing.assert_allclose(divergence(bins, places, levels), expected, rtol=1e-9, atol=1e-12)
    clip = least_divergence(seen.magnitudes, seen.limit, seen.largest, levels)
    assert clip == seen.largest * places[int(np.argmin(expected))] / BINS


def single(bins: np.ndarray, levels: int) -> float:
    """The divergence of keeping all but the last bin."""
    kept = len(bins) - 1
    real = bins[:-1].copy()
    real[-1] += bins[-1]
    level = np.arange(kept) * levels // kept
    mass = np.bincount(level, bins[:-1], levels)
    taken = np.bincount(level, real > 0, levels)
    merged = np.where(real > 0, mass[level] / np.maximum(taken[level], 1), 0)
    p, q = real / real.sum(), merged / merged.sum()
    if (q[p > 0] == 0).any():
        return np.inf
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


def test_a_histogram_keeps_what_it_is_made_of() -> None:
    seen = activations.observed(activations.values("shifted"))
    bins = histogram(seen.magnitudes, seen.limit, seen.largest)
    assert len(bins) == BINS
    # The two lowest bins hold next to nothing here. Sums in float64.
    assert bins[1:].sum() == pytest.approx(30_000, abs=30)
    centres = (np.arange(BINS) + 0.5) * seen.largest / BINS
    assert (bins * centres).sum() / bins.sum() == pytest.approx(3, abs=0.05)


@pytest.mark.parametrize("name", ["normal", "heavy", "relu"])
def test_128_bins_are_no_calibration_and_2048_are(name: str) -> None:
    """ONNX Runtime's default has as many bins as levels: one candidate, the whole range."""
    seen = activations.observed(activations.values(name))
    coarse, _ = np.histogram(np.abs(activations.values(name)), 128, (0, seen.largest))
    assert len(naive(coarse.astype(np.float64), 128)) == 1
    clip = least_divergence(seen.magnitudes, seen.limit, seen.largest, 128)
    # Each of these has a long tail: TensorRT's scheme clips it.
    assert 0.1 * seen.largest < clip < 0.95 * seen.largest


def test_what_is_spread_evenly_is_not_clipped() -> None:
    values = np.linspace(-4, 4, 20_001, dtype=np.float32)
    seen = activations.observed(values)
    # A bin more or less is as good.
    assert least_divergence(seen.magnitudes, seen.limit, seen.largest, 128) > 0.98 * seen.largest


def test_zeros_do_not_move_the_clip() -> None:
    values = activations.values("relu")
    values = values[values > 0.01]
    zeros = np.zeros(10 * values.size, np.float32)
    alone, among = activations.observed(values), activations.observed(values, zeros)
    clips = [least_divergence(one.magnitudes, one.limit, one.largest, 256) for one in (alone, among)]
    assert clips[0] == clips[1]
