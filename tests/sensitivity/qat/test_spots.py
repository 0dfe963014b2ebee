from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.model import Model
from onnxcomp.passes.base import Placement
from onnxcomp.passes.qat import partial
from onnxcomp.sensitivity.qat import spots
from tests import run
from tests.sensitivity.naive import NETWORKS, network

RUNTIMES: tuple[Placement, ...] = ("tensorrt", "ort-cpu")


def quantized(name: str, text: str = "qat{concat=shared}", runtime: Placement = "tensorrt") -> Model:
    given = network(name)
    return pipeline.apply(given, recipe.parse(text), calibration=run.Observed(), placement=runtime)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_form_is_the_network_with_those_layers_in_int8(name: str, runtime: Placement) -> None:
    """To 2e-5 of logits up to 20: Gemm sums in another order where its weight is a constant."""
    given = quantized(name, runtime=runtime)
    found = spots.find(given)
    images = run.images(given)
    assert found.layers == partial.layers(given)
    for keep in ((), found.layers, found.layers[:1], found.layers[1:], found.layers[::2]):
        formed = found.form(found.plain, found.only(keep))
        expected = run.logits(partial.only(given, keep), images)
        np.testing.assert_allclose(run.logits(formed, images), expected, rtol=0, atol=2e-5)
    assert found.without(found.layers[0]) == found.only(found.layers[1:])


def test_masked_weights_are_constants() -> None:
    given = quantized("mobilenet", "prune{sparsity=0.5 schedule=one-shot},qat")
    found = spots.find(given)
    assert not graphs.masks(found.plain.graph)
    assert all(weight.tensor.inputs == [] for weight in graphs.weights(found.plain.graph))
    images = run.images(given)
    for keep in ((), found.layers):
        formed = found.form(found.plain, found.only(keep))
        expected = run.logits(partial.only(given, keep), images)
        np.testing.assert_array_equal(run.logits(formed, images), expected)


def test_between_layers_are_sums_and_concats() -> None:
    found = spots.find(quantized("resnet"))
    ops = {node.name: node.op for node in found.plain.graph.nodes}
    between = {ops[name] for name, _ in found.between()}
    assert between == {"Add", "GlobalAveragePool"}
    joined = spots.find(quantized("densenet"))
    ops = {node.name: node.op for node in joined.plain.graph.nodes}
    assert "Concat" in {ops[name] for name, _ in joined.between()}
    assert not {ops[name] for name, _ in joined.between()} & {"Conv", "Gemm"}
    assert spots.find(quantized("mlp")).between() == frozenset()


def test_the_network_stays_as_it_is() -> None:
    given = quantized("densenet")
    images = run.images(given)
    before, count = run.logits(given, images), len(given.graph.nodes)
    found = spots.find(given)
    found.form(found.plain, found.only(found.layers))
    assert len(given.graph.nodes) == count
    np.testing.assert_array_equal(run.logits(given, images), before)
    assert not list(graphs.quantizers(found.plain.graph))
