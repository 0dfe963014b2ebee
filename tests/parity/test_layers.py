from __future__ import annotations

import math

import numpy as np
import pytest

from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.errors import ModelError
from onnxcomp.model import Model
from onnxcomp.parity.layers import LayerErrors, compare_layers
from onnxcomp.student import subgraph
from tests import pictures, run, zoo
from tests.deploy.networks import compressed


def batches(count: int = 2, size: int = 10) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal((size, 3, 16, 16), dtype=np.float32) for _ in range(count)]


def layers(reference: Model, candidate: Model) -> LayerErrors:
    return compare_layers(reference, candidate, batches(), threads=1)


@pytest.mark.parametrize("name", zoo.ALL)
def test_equal_networks_are_equal_throughout(name: str) -> None:
    found = layers(pictures.network(name), pictures.network(name))
    assert found.images == 20
    assert found.unmatched == 0
    for error in found.errors:
        assert error.sqnr == math.inf
        assert error.cosine == pytest.approx(1, abs=1e-12)
        assert error.max_absolute == error.fall == 0
    assert found.below({"*": 100.0}) == []


@pytest.mark.parametrize("name", ["resnet", "densenet", "mobilenet"])
def test_the_figures_are_those_of_the_tensors(name: str) -> None:
    """Of one in the middle, from sessions of their own."""
    reference, candidate = pictures.network(name), pictures.network(name, seed=3)
    found = layers(reference, candidate)
    error = found.errors[len(found.errors) // 2]
    a, b = (
        np.concatenate([run.logits(subgraph(model, [error.tensor]), x) for x in batches()]).astype(np.float64)
        for model in (reference, candidate)
    )
    # float32 values of an optimised and an unoptimised session
    assert error.sqnr == pytest.approx(10 * math.log10((a**2).sum() / ((a - b) ** 2).sum()), abs=1e-3)
    assert error.cosine == pytest.approx((a * b).sum() / math.sqrt((a**2).sum() * (b**2).sum()), abs=1e-5)
    assert error.max_absolute == pytest.approx(np.abs(a - b).max(), rel=1e-4)
    assert error.largest == pytest.approx(np.abs(a).max(), rel=1e-4)


@pytest.mark.parametrize("name", ["resnet", "densenet", "mobilenet"])
def test_the_steepest_fall_is_where_a_weight_was_disturbed(name: str) -> None:
    reference, candidate = pictures.network(name), pictures.network(name)
    convolutions = [node for node in candidate.graph.nodes if node.op == "Conv"]
    node = convolutions[len(convolutions) // 2]
    node.inputs[1].values = node.inputs[1].values * 1.5
    found = layers(reference, candidate)
    assert found.steepest.node == node.name
    # the error is half of the value: 20 log10(2) dB, but for a bias
    assert found.steepest.sqnr < 12
    ((error, least), *_) = found.below({"*": 30.0})
    assert (error.node, least) == (node.name, 30.0)


def test_int8_falls_step_by_step() -> None:
    reference = pictures.network("resnet")
    found = layers(reference, finalize(compressed(reference, "qat"), get_target("xavier")))
    assert all(0 < error.sqnr < 80 for error in found.errors)
    assert found.errors[-1].tensor == reference.logits.name


def test_the_last_pattern_that_fits_counts() -> None:
    found = layers(pictures.network("resnet"), pictures.network("resnet", seed=3))
    first = found.errors[0]
    assert [error for error, _ in found.below({"*": -1e3})] == []
    assert [error for error, _ in found.below({"*": -1e3, first.node: 1e3})] == [first]
    assert [error for error, _ in found.below({first.tensor: 1e3, "*": -1e3})] == []


def test_a_nan_is_below_every_limit() -> None:
    reference, candidate = pictures.network("mlp"), pictures.network("mlp")
    candidate.constants()["b2"].values = np.full(10, np.nan, np.float32)
    found = layers(reference, candidate)
    assert [error.tensor for error, _ in found.below({"*": -1e9})] == [reference.logits.name]
    assert found.steepest.tensor == reference.logits.name


def test_logits_match_whatever_they_are_called() -> None:
    reference, candidate = pictures.network("mlp"), pictures.network("mlp")
    for tensor in candidate.graph.tensors().values():
        if tensor.inputs and tensor is not candidate.logits:
            tensor.name = f"other.{tensor.name}"
    candidate.logits.name = "answer"
    found = layers(reference, candidate)
    assert [error.tensor for error in found.errors] == [reference.logits.name]
    assert found.errors[0].max_absolute == 0


def test_networks_of_other_images_are_refused() -> None:
    with pytest.raises(ModelError, match="image shapes differ"):
        layers(pictures.network("mlp"), pictures.network("mlp", size=8))
