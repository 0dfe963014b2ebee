"""What is found in whole networks: any factors leave the answers as they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp import pipeline, recipe
from onnxcomp.model import from_proto
from onnxcomp.passes.channels.ids import FIXED
from onnxcomp.passes.qat.scaling import find
from tests import float64, run, zoo
from tests.classifiers import FOLDED, NETWORKS
from tests.passes.channels.test_properties import several
from tests.passes.qat.scaling.scaled import assert_same, changed, scaled
from tests.random_graphs import Network, classifiers

EVERY = {**zoo.ALL, **zoo.MORE}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("opset", [13, 17, 21])
def test_small_networks(name: str, opset: int) -> None:
    model = from_proto(EVERY[name](opset=opset))
    after = scaled(model)
    assert changed(model, after)
    assert_same(model, after)


@pytest.mark.parametrize("name", ["alexnet", "vgg11_bn", "resnet18", "mobilenet_v2", "densenet121", "vit"])
def test_larger_networks(name: str) -> None:
    for model in (NETWORKS[name](), *(FOLDED[name]() for _ in range(name in FOLDED))):
        after = scaled(model)
        assert changed(model, after)
        assert_same(model, after, logits=float64.logits)


@several(60)
@given(network=classifiers(), seed=st.integers(0, 99))
def test_random_networks(network: Network, seed: int) -> None:
    model = from_proto(network.proto)
    assert_same(model, scaled(model, seed))


def test_a_dense_block_is_free() -> None:
    scaling = find(from_proto(zoo.densenet()).graph)
    free = [reader for reader in scaling.readers if reader.weight is None]
    assert {reader.tensor.inputs[0].op for reader in free} == {"Relu", "Concat", "AveragePool"}
    assert all((reader.channels != FIXED).all() for reader in free)


def test_a_residual_sum_ties_all_that_meet_in_it() -> None:
    model = NETWORKS["resnet18"]()
    scaling = find(model.graph)
    sums = [node for node in model.graph.nodes if node.op == "Add"]
    stage = [scaling.grids[node.outputs[0].name] for node in sums[:2]]
    assert (stage[0] == stage[1]).all(), "the blocks of a stage add to one stream"


def test_a_quantized_network_is_left_as_it_is() -> None:
    model = pipeline.apply(from_proto(zoo.resnet()), recipe.parse("qat"), calibration=run.Observed())
    assert not find(model.graph).readers
    after = scaled(model)
    assert not changed(model, after)
