from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from onnxcomp.data import ImageSet
from onnxcomp.errors import DataError, ModelError
from onnxcomp.model import Model, Preprocessing
from onnxcomp.parity.limits import Limits
from onnxcomp.parity.polygraphy_files import Run
from onnxcomp.parity.rows import validation_rows
from onnxcomp.parity.sample import evenly_spaced
from onnxcomp.parity.validation import Pair, Validation, sample_batches
from onnxcomp.parity.validation import validate as validate_pair
from tests import pictures


def biased(amount: float) -> Model:
    """A network that prefers class 0."""
    model = pictures.network("mlp")
    bias = model.constants()["b2"]
    bias.values = bias.values.copy()
    bias.values[0] += amount
    return model


def validate(
    reference: Model, candidate: Model, images: ImageSet, limits: Limits, *, threads: int, **options: Any
) -> Validation:
    pair = Pair(reference, candidate, sample_batches(reference, images, 200, None), threads)
    return validate_pair(pair, images, limits, **options)


def test_equal_networks_pass_at_no_tolerance() -> None:
    limits = Limits(0.0, min_agreement=100.0, min_cosine=1 - 1e-12, min_sqnr=math.inf, atol=0.0)
    model = pictures.network("mlp")
    found = validate(model, pictures.network("mlp"), pictures.pictures(60), limits, threads=1)
    assert found.passed
    assert found.failures == ()
    assert found.drop.points == 0
    assert found.comparison.count == 60


def test_each_check_has_its_line() -> None:
    images = pictures.pictures(60)
    limits = Limits(-100.0, min_agreement=99.0, atol=1e-3, check_error_stat="max")
    found = validate(pictures.network("mlp"), biased(1e3), images, limits, threads=1)
    share = 100 * (images.labels == 0).mean()
    assert found.candidate.top1 == pytest.approx(share)
    assert found.drop.points == pytest.approx(found.reference.top1 - share)
    assert [line.split(" ")[0] for line in found.failures] == ["top-1", "the", "logits"]
    assert f"to {share:.2f} % on 60 images; at most -100 is allowed" in found.failures[0]
    assert "at least 99 % is asked for" in found.failures[1]
    assert "differ by at most 1e+03" in found.failures[2]
    assert not found.passed


@pytest.mark.parametrize("lowered", [0.0, 1e-6])
def test_a_drop_of_exactly_the_limit_passes(lowered: float) -> None:
    images = pictures.pictures(60)
    reference, candidate = pictures.network("mlp"), biased(1e3)
    drop = validate(reference, candidate, images, Limits(None), threads=1).drop.points
    found = validate(reference, candidate, images, Limits(drop - lowered, drop_by="estimate"), threads=1)
    assert found.passed is (lowered == 0)


def test_nan_fails_whatever_the_limits() -> None:
    found = validate(pictures.network("mlp"), biased(math.nan), pictures.pictures(), Limits(None), threads=1)
    assert found.failures == ("NaN or infinity among the logits of 23 images",)


def test_each_step_is_shown_to_its_end() -> None:
    steps: dict[str, tuple[int, list[int]]] = {}

    @contextmanager
    def show(step: str, images: int) -> Iterator[Callable[[int], None]]:
        steps[step] = (images, [])
        yield steps[step][1].append

    model = pictures.network("mlp")
    validate(model, model, pictures.pictures(23), Limits(), threads=1, layers=True, progress=show)
    assert {step: (total, sum(counts)) for step, (total, counts) in steps.items()} == {
        "comparing logits": (23, 23),
        "comparing inner tensors": (23, 23),
        "validating": (46, 46),
    }


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
    assert rows["drop"] == found.drop.text()
    assert rows["max absolute difference"] == "0.5"
    assert rows["images compared"] == "23"


@pytest.mark.parametrize(("by", "passes"), [("lower", True), ("estimate", False), ("upper", False)])
def test_chance_decides_as_asked(by: Any, passes: bool) -> None:
    """Two images of 40 lost and none won: 5 points, and by chance anything from -2 to 17."""
    images = pictures.pictures(40)
    model = pictures.network("mlp")
    right = Pair(model, model, sample_batches(model, images, 40, None), 1)
    pair = _Answers(right.reference, right.candidate, right.samples, 1)
    found = validate_pair(pair, images, Limits(2.0, drop_by=by))
    assert (found.drop.lost, found.drop.won, found.drop.points) == (2, 0, 5.0)
    assert found.passed is passes
    assert bool(found.notes) is passes  # the drop is larger than the limit, and that is said


class _Answers(Pair):
    """A pair whose candidate answers two images wrong that the reference has right."""

    def ranks(self, image_set: ImageSet, batch_size: int, progress: Any) -> tuple[np.ndarray, np.ndarray]:
        ranks = np.arange(len(image_set)) % 2
        other = ranks.copy()
        other[[0, 2]] = 5
        return ranks, other


def test_answers_of_others_are_held_against_the_same_limits() -> None:
    images = pictures.pictures(23)
    model = pictures.network("mlp")
    pair = Pair(model, model, sample_batches(model, images, 23, None), 1)
    _, verdict = pair.answers(Limits())
    runs = [Run("trt", verdict.reference + 0.01), Run("same", verdict.reference)]
    found = validate_pair(pair, images, Limits(atol=1e-3, rtol=0.0), runs=runs)
    assert found.runs["same"].max_absolute == 0
    # float32 logits near 1
    assert found.runs["trt"].max_absolute == pytest.approx(0.01, rel=1e-3)
    assert len(found.failures) == 1
    assert found.failures[0].startswith("trt: logits differ by at most 0.01")


def test_a_limit_of_inner_tensors_compares_them() -> None:
    images = pictures.pictures(8)
    reference, candidate = pictures.network("resnet"), pictures.network("resnet", seed=3)
    found = validate(reference, candidate, images, Limits(None, layers={"*": 20.0}), threads=1)
    assert found.layers is not None
    assert not found.passed
    assert "inner tensors are below their SQNR, the first" in found.failures[0]
