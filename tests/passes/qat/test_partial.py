from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.errors import PassError
from onnxcomp.model import Model, Role, from_proto
from onnxcomp.passes.base import Placement
from onnxcomp.passes.qat import partial
from onnxcomp.student import student
from onnxcomp.verify import verify
from tests import run, zoo
from tests.sensitivity.naive import SHARED, sharing

NETWORKS = {**zoo.ALL, **zoo.MORE}
RUNTIMES: tuple[Placement, ...] = ("tensorrt", "ort-cpu")


def quantized(model: Model, text: str = "qat", runtime: Placement = "tensorrt") -> Model:
    return pipeline.apply(model, recipe.parse(text), calibration=run.Observed(), placement=runtime)


def network(name: str) -> Model:
    return from_proto(NETWORKS[name]())


def sources(model: Model) -> set[str]:
    """What is quantised: weights by their own name."""
    return {
        pair.source.name if pair.weight is None else pair.weight.name
        for pair in graphs.quantizers(model.graph)
    }


def reads(model: Model) -> set[tuple[str, str]]:
    """Names of quantised tensors and of the nodes that read them."""
    return {
        (pair.source.name, node.name)
        for pair in graphs.quantizers(model.graph)
        for node in pair.dequantize.outputs[0].outputs
    }


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_all_layers_are_the_network_and_none_the_float_one(name: str, runtime: Placement) -> None:
    model = network(name)
    given = quantized(model, "qat{concat=shared pre_activation=true}", runtime)
    before, images = reads(given), run.images(model)
    whole = partial.only(given, partial.layers(given))
    assert reads(whole) == before
    assert whole.roles == given.roles
    np.testing.assert_array_equal(run.logits(whole, images), run.logits(given, images))
    nothing = partial.only(given, ())
    assert not sources(nothing)
    assert not {Role.SCALE, Role.LEARNED_SCALE} & set(nothing.roles.values())
    np.testing.assert_array_equal(run.logits(nothing, images), run.logits(model, images))
    assert reads(given) == before  # which is left as it is
    for one in (whole, nothing):
        verify(one, where=name)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_one_layer_alone_is_its_weight_and_its_input(name: str, runtime: Placement) -> None:
    given = quantized(network(name), "qat{concat=shared}", runtime)
    weights = list(graphs.weights(given.graph))
    for layer in partial.layers(given):
        nodes = {weight.node.name for weight in weights if weight.name == layer}
        alone = partial.only(given, [layer])
        assert partial.layers(alone) == (layer,)
        verify(alone, where=layer)
        inputs = {source for source, node in reads(given) if node in nodes}
        ends = {(source, node) for source, node in reads(alone) if node in nodes}
        assert {source for source, _ in ends} == inputs
        # What else there is stands between the layer and an end of the network, where there is no other.
        others = {node for _, node in reads(alone)} - nodes
        first, last = weights[0].node.name, weights[-1].node.name
        assert not others or {first, last} & nodes


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_one_layer_left_float_reads_nothing_quantised(name: str, runtime: Placement) -> None:
    given = quantized(network(name), "qat{concat=shared}", runtime)
    for layer in partial.layers(given):
        rest = partial.without(given, [layer])
        nodes = {weight.node.name for weight in graphs.weights(rest.graph) if weight.name == layer}
        assert set(partial.layers(rest)) == set(partial.layers(given)) - {layer}
        assert not {node for _, node in reads(rest)} & nodes
        assert reads(rest) < reads(given)
        # Left float in two steps or in one.
        assert reads(partial.only(rest, partial.layers(rest))) == reads(rest)


def test_a_residual_sum_is_quantised_where_a_layer_on_both_sides_is() -> None:
    given = quantized(network("resnet"))
    add = next(node for _, node in reads(given) if node == "/layer2/layer2.0/Add")
    names = partial.layers(given)
    assert names[-1] == "fc.weight"
    before = "onnx::Conv_131"  # of the downsampling, which the sum reads
    around = {
        "none behind": [name for name in names if name != "fc.weight"],
        "some": [before, "fc.weight"],
        "none before": ["fc.weight"],
    }
    assert before in names
    stays = {
        what: add in {node for _, node in reads(partial.only(given, keep))} for what, keep in around.items()
    }
    assert stays == {"none behind": False, "some": True, "none before": False}


def test_a_concat_keeps_its_pairs_where_one_layer_of_its_block_is_float() -> None:
    given = quantized(network("densenet"), "qat{concat=shared}")
    layer = "features.denseblock1.denselayer1.conv2.weight"
    joins = {(source, node) for source, node in reads(given) if node.endswith("Concat")}
    assert len(joins) >= 4
    assert joins < reads(partial.without(given, [layer]))
    scales = {name for name, role in partial.without(given, [layer]).roles.items() if role is Role.SCALE}
    assert f"{layer}.scale" not in scales
    assert f"{layer}.scale" in given.roles


def test_nodes_that_share_a_weight_are_one_layer() -> None:
    given = quantized(sharing())
    alone = partial.only(given, [SHARED])
    assert len({node for _, node in reads(alone)}) == 2
    rest = partial.without(given, [SHARED])
    users = {weight.node.name for weight in graphs.weights(rest.graph) if weight.name == SHARED}
    assert len(users) == 2
    assert not users & {node for _, node in reads(rest)}


def test_a_pair_before_what_only_moves_belongs_to_the_layer_behind() -> None:
    """As another placement might have it: the pair of the last layer's input before its Flatten."""
    given = student(quantized(network("resnet")))
    (last,) = (weight for weight in graphs.weights(given.graph) if weight.name == "fc.weight")
    (pair,) = (p for p in graphs.quantizers(given.graph) if p.dequantize.outputs[0] is last.node.inputs[0])
    flatten = pair.source.inputs[0]
    assert flatten.op == "Flatten"
    given.graph.nodes.remove(flatten)
    graphs.rewire(pair.source, flatten.inputs[0], [pair.quantize])
    last.node.inputs[0] = flatten.outputs[0]
    flatten.inputs[0] = pair.dequantize.outputs[0]
    given.graph.nodes.append(flatten)
    given.graph.toposort()
    alone = {node for source, node in reads(partial.only(given, ["fc.weight"])) if source != "fc.weight"}
    assert alone == {flatten.name}
    assert flatten.name not in {node for _, node in reads(partial.without(given, ["fc.weight"]))}


def test_masks_stay() -> None:
    model = network("mobilenet")
    given = quantized(model, "prune{keep_first=false keep_last=false},qat")
    for keep in ((), partial.layers(given)[:2]):
        some = partial.only(given, keep)
        assert graphs.masks(some.graph).keys() == graphs.masks(given.graph).keys()
        assert partial.layers(some) == tuple(keep)


def test_names_that_are_no_layer() -> None:
    given = quantized(network("mlp"))
    for ask in (partial.only, partial.without):
        with pytest.raises(PassError, match="qat: no quantised layer is called w3; see onnxcomp inspect"):
            ask(given, ["w1", "w3"])
