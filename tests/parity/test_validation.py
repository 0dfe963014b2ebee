from __future__ import annotations

import math

import numpy as np
import pytest

from onnxcomp.errors import DataError, ModelError
from onnxcomp.model import Model, Preprocessing
from onnxcomp.parity.comparator import Tolerance
from onnxcomp.parity.sample import evenly_spaced
from onnxcomp.parity.validation import Limits, sample_batches, validate, validation_rows
from tests import pictures


def biased(amount: float) -> Model:
    """A network that prefers class 0."""
    model = pictures.network("mlp")
    bias = model.constants()["b2"]
    bias.values = bias.values.copy()
    bias.values[0] += amount
    return model


def test_equal_networks_pass_at_no_tolerance() -> None:
    limits = Limits(0.0, 100.0, Tolerance(0.0, 0.0))
    model = pictures.network("mlp")
    found = validate(model, pictures.network("mlp"), pictures.pictures(60), limits, threads=1)
    assert found.passed
    assert found.failures == ()
    assert found.drop == 0
    assert found.comparison.count == 60


def test_each_check_has_its_line() -> None:
    images = pictures.pictures(60)
    limits = Limits(-100.0, 99.0, Tolerance(1e-3, 0.0, "max"))
    found = validate(pictures.network("mlp"), biased(1e3), images, limits, threads=1)
    share = 100 * (images.labels == 0).mean()
    assert found.candidate.top1 == pytest.approx(share)
    assert found.drop == pytest.approx(found.reference.top1 - share)
    assert [line.split(" ")[0] for line in found.failures] == ["top-1", "the", "logits"]
    assert f"to {share:.2f} % on 60 images; at most -100 is allowed" in found.failures[0]
    assert "at least 99 % is asked for" in found.failures[1]
    assert "differ by at most 1e+03" in found.failures[2]
    assert not found.passed


@pytest.mark.parametrize("lowered", [0.0, 1e-6])
def test_a_drop_of_exactly_the_limit_passes(lowered: float) -> None:
    images = pictures.pictures(60)
    reference, candidate = pictures.network("mlp"), biased(1e3)
    drop = validate(reference, candidate, images, Limits(None), threads=1).drop
    found = validate(reference, candidate, images, Limits(drop - lowered), threads=1)
    assert found.passed is (lowered == 0)


def test_nan_fails_whatever_the_limits() -> None:
    found = validate(pictures.network("mlp"), biased(math.nan), pictures.pictures(), Limits(None), threads=1)
    assert found.failures == ("NaN or infinity among the logits of 23 images",)


def test_progress_counts_both_networks() -> None:
    counts: list[int] = []
    validate(
        pictures.network("mlp"),
        pictures.network("mlp"),
        pictures.pictures(23),
        Limits(),
        threads=1,
        progress=counts.append,
    )
    assert sum(counts) == 46


def test_different_normalisation_is_refused() -> None:
    other = pictures.network("mlp")
    other.preprocessing = Preprocessing((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
    with pytest.raises(ModelError, match="normalised differently"):
        validate(pictures.network("mlp"), other, pictures.pictures(), Limits(), threads=1)


@pytest.mark.parametrize(
    ("samples", "batch", "sizes"),
    [(200, None, [23]), (10, None, [10]), (10, 4, [4, 4]), (2, 4, [4]), (200, 32, [32]), (22, 11, [11, 11])],
)
def test_samples_come_in_whole_batches(samples: int, batch: int | None, sizes: list[int]) -> None:
    model = pictures.network("mlp")
    found = sample_batches(model, pictures.pictures(23), samples, batch)
    assert [len(images) for images in found] == sizes


def test_samples_are_spread_over_the_set_and_normalised() -> None:
    images = pictures.pictures(23)
    (found,) = sample_batches(pictures.network("mlp"), images, 3, None)
    # float32 against float64
    np.testing.assert_allclose(found, pictures.normalised(images)[[0, 11, 22]], atol=1e-6)


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(DataError, match="no image"):
        sample_batches(pictures.network("mlp"), evenly_spaced(pictures.pictures(), 0), 10, None)


def test_the_table_names_every_figure() -> None:
    found = validate(pictures.network("mlp"), biased(0.5), pictures.pictures(), Limits(None), threads=1)
    rows = dict(validation_rows(found))
    assert rows["drop"] == f"{found.drop:.2f} points"
    assert rows["max absolute difference"] == "0.5"
    assert rows["images compared"] == "23"
