from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from onnxcomp import pipeline, recipe
from onnxcomp.errors import ModelError
from onnxcomp.model import Model
from onnxcomp.parity.comparator import Tolerance
from onnxcomp.parity.compare import Comparison, with_names_of
from onnxcomp.parity.compare import compare as both
from tests import pictures, run, zoo

EXACT = Tolerance(0.0, 0.0)


def compare(*args: Any, **options: Any) -> Comparison:
    """The figures alone."""
    return both(*args, **options)[0]


def batches(count: int = 3, size: int = 4) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal((size, 3, 16, 16), dtype=np.float32) for _ in range(count)]


def shifted(name: str, amount: float) -> Model:
    """A network whose first logit is ``amount`` higher."""
    model = pictures.network(name)
    bias = next(t for key, t in model.constants().items() if key in ("classifier.bias", "fc.bias", "b2"))
    bias.values = bias.values.copy()
    bias.values[0] += amount
    return model


@pytest.mark.parametrize("name", zoo.ALL)
def test_equal_networks_are_equal(name: str) -> None:
    found = compare(pictures.network(name), pictures.network(name), batches(), threads=1, tolerance=EXACT)
    assert found.passed
    assert found.finite
    assert (found.max_absolute, found.mean_absolute, found.max_relative) == (0, 0, 0)
    assert found.sqnr == math.inf
    assert found.cosine == pytest.approx(1, abs=1e-12)
    assert (found.agreement, found.count) == (100, 12)


def test_the_figures_are_those_of_the_logits() -> None:
    reference, candidate = pictures.network("resnet"), pictures.network("resnet", seed=3)
    images = batches()
    a, b = (
        np.concatenate([run.logits(m, x) for x in images]).astype(np.float64) for m in (reference, candidate)
    )
    found = compare(reference, candidate, images, threads=1, tolerance=Tolerance(1e-3, 1e-3))
    assert not found.passed
    # float32 logits of an optimised and an unoptimised session
    assert found.max_absolute == pytest.approx(np.abs(a - b).max(), rel=1e-4)
    assert found.mean_absolute == pytest.approx(np.abs(a - b).mean(), rel=1e-4)
    assert found.max_relative == pytest.approx((np.abs(a - b) / np.abs(a)).max(), rel=1e-2)
    assert found.sqnr == pytest.approx(10 * math.log10((a**2).sum() / ((a - b) ** 2).sum()), rel=1e-3)
    cosines = [x @ y / np.sqrt(x @ x) / np.sqrt(y @ y) for x, y in zip(a, b, strict=True)]
    assert found.cosine == pytest.approx(np.mean(cosines), abs=1e-4)
    assert found.agreement == pytest.approx(100 * (a.argmax(1) == b.argmax(1)).mean())


@pytest.mark.parametrize(
    ("tolerance", "passed"),
    [
        (Tolerance(0.11, 0.0, "max"), True),
        (Tolerance(0.09, 0.0, "max"), False),
        (Tolerance(0.011, 0.0, "mean"), True),
        (Tolerance(0.009, 0.0, "mean"), False),
        (Tolerance(1e-5, 0.0, "median"), True),
        (Tolerance(0.11, 0.0, "elemwise"), True),
        (Tolerance(0.09, 0.0, "elemwise"), False),
    ],
)
def test_the_statistic_decides(tolerance: Tolerance, passed: bool) -> None:
    found = compare(pictures.network("mlp"), shifted("mlp", 0.1), batches(), threads=1, tolerance=tolerance)
    assert found.passed is passed


def test_the_relative_tolerance_is_a_share_of_the_reference() -> None:
    reference, candidate = pictures.network("mlp"), pictures.network("mlp")
    product = next(node for node in candidate.graph.nodes if node.op == "MatMul")
    for constant in (product.inputs[1], candidate.constants()["b2"]):
        constant.values = constant.values * np.float32(2)  # differs by 100 % of one, 50 % of the other
    verdicts = [
        compare(reference, candidate, batches(), threads=1, tolerance=Tolerance(0, rtol)).passed
        for rtol in (0.75, 1.01)
    ]
    assert verdicts == [False, True]


def test_without_a_tolerance_there_is_no_verdict() -> None:
    found = compare(pictures.network("mlp"), pictures.network("mlp"), batches(1), threads=1)
    assert found.passed is None


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_nan_and_infinity_fail(value: float) -> None:
    found = compare(
        pictures.network("mlp"),
        shifted("mlp", value),
        batches(1),
        threads=1,
        tolerance=Tolerance(1e9, 1e9, "max"),
    )
    assert not found.finite
    assert not found.passed


def test_a_fixed_batch_meets_a_free_one() -> None:
    found = compare(
        pictures.network("resnet", batch=4), pictures.network("resnet"), batches(), threads=1, tolerance=EXACT
    )
    assert found.passed


def test_the_compression_form_against_its_original() -> None:
    model = pictures.network("densenet")
    whole = pipeline.apply(model, recipe.parse("prune,distill"))
    assert compare(model, whole, batches(), threads=1, tolerance=Tolerance(1e-5, 0)).passed


def test_names_of_input_and_output_do_not_matter() -> None:
    model, other = pictures.network("mlp"), pictures.network("mlp")
    other.image.name, other.logits.name = "hidden.", "active."
    model.image.name, model.logits.name = "hidden", "b1"  # tensors inside `other` are called so
    twin = with_names_of(other, model)
    assert (twin.image.name, twin.logits.name) == ("hidden", "b1")
    assert len(twin.graph.tensors(check_duplicates=True)) == len(other.graph.tensors())
    assert (other.image.name, other.logits.name) == ("hidden.", "active.")


def test_different_names_compare_by_position() -> None:
    model, other = pictures.network("mlp"), pictures.network("mlp")
    other.image.name, other.logits.name = "picture", "scores"
    assert compare(model, other, batches(), threads=1, tolerance=EXACT).passed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 7}, "numbers of classes differ (10 and 7)"),
        ({"size": 8}, "image shapes differ ((3, 16, 16) and (3, 8, 8))"),
        ({"batch": 2}, "fixed batches differ (4 and 2)"),
    ],
)
def test_networks_that_cannot_be_compared(options: dict[str, int], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        compare(
            pictures.network("mlp", batch=4),
            pictures.network("mlp", **{"batch": 4, **options}),
            [],
            threads=1,
        )
    assert message in str(caught.value)
