"""Criteria: their formulas, and means over gradients."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from onnxcomp.passes.prune import criteria

W = np.array([[1, -2], [0, 0.5]], np.float32)
G = np.array([[3, 1], [5, 2]], np.float32)


def test_formulas() -> None:
    assert criteria.score("magnitude", "w", W).tolist() == [[1, 2], [0, 0.5]]
    assert criteria.score("taylor", "w", W, mean=G).tolist() == [[3, 2], [0, 1]]
    assert criteria.score("obd", "w", W, mean=G).tolist() == [[1.5, 2], [0, 0.25]]


@pytest.mark.parametrize("criterion", ["magnitude", "random", "taylor", "obd"])
def test_scores_are_new_float32_and_never_negative(criterion: str) -> None:
    weight, mean = W.copy(), G.copy()
    found = criteria.score(criterion, "w", weight, mean=mean)
    assert found.dtype == np.float32
    assert found.shape == weight.shape
    assert (found >= 0).all()
    found[...] = -1
    assert np.array_equal(weight, W)
    assert np.array_equal(mean, G)


def test_random_depends_on_name_and_seed_alone() -> None:
    weight = np.ones((40, 50), np.float32)
    found = criteria.score("random", "a", weight, seed=3)
    assert np.array_equal(found, criteria.score("random", "a", weight * 7, seed=3))
    assert not np.array_equal(found, criteria.score("random", "b", weight, seed=3))
    assert not np.array_equal(found, criteria.score("random", "a", weight, seed=4))
    assert found.min() > 0
    # The mean of 2000 uniform numbers: its deviation is 0.0065.
    assert found.mean() == pytest.approx(0.5, abs=0.03)


def test_without_their_gradients_taylor_and_obd_have_no_scores() -> None:
    for criterion in ("taylor", "obd", "obs"):
        with pytest.raises(ValueError, match=f"{criterion} cannot score w"):
            criteria.score(criterion, "w", W)


@pytest.mark.parametrize(("criterion", "power"), [("taylor", 1), ("obd", 2)])
def test_means_are_over_batches_whose_arrays_are_written_over(criterion: str, power: int) -> None:
    gradients = np.random.default_rng(0).standard_normal((7, 3, 4)).astype(np.float32)

    def batches() -> Iterator[dict[str, np.ndarray]]:
        live = {"w": np.empty((3, 4), np.float32)}
        for gradient in gradients:
            live["w"][...] = gradient
            yield live

    found = criteria.mean_statistics(criterion, batches())
    expected = (np.abs(gradients.astype(np.float64)) ** power).mean(0)
    np.testing.assert_allclose(found["w"], expected, rtol=1e-6)  # a sum of seven float32
