"""What holds of a placement on every network: it changes no number by itself, and has its reasons."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp import model as models
from onnxcomp import recipe as recipes
from onnxcomp.model import Model
from onnxcomp.passes.base import Placement as Name
from onnxcomp.passes.qat.grid import INT8
from onnxcomp.passes.qat.placement import Switches, place
from onnxcomp.passes.qat.placement.sites import Placement
from tests import classifiers, run, zoo

NETWORKS = [*zoo.ALL, *zoo.MORE, "densenet121", "mobilenet_v2"]
RUNTIMES: tuple[Name, ...] = ("tensorrt", "ort-cpu")


def network(name: str) -> Model:
    build = {**zoo.ALL, **zoo.MORE}.get(name)
    return models.from_proto(build()) if build else classifiers.network(name)


@pytest.mark.parametrize("concat", ["shared", "each", "none"])
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_pairs_stand_where_the_placement_says_and_taking_them_away_gives_the_network(
    name: str, runtime: Name, concat: str
) -> None:
    model = network(name)
    wanted = place(model.graph, runtime, Switches(concat=concat))  # type: ignore[arg-type]
    recipe = recipes.parse(f"qat{{concat={concat}}}")
    quantized = pipeline.apply(model, recipe, calibration=run.Observed(4), placement=runtime)
    pairs = list(graphs.quantizers(quantized.graph))
    activations = [pair for pair in pairs if pair.weight is None]
    assert sorted(pair.source.name for pair in activations) == sorted(wanted.sites)
    for pair in activations:
        readers = [node.name for node in pair.dequantize.outputs[0].outputs]
        assert sorted(readers) == sorted(node.name for node in wanted.sites[pair.source.name].readers)
        assert pair.quantize.inputs[2].dtype == (np.int8 if runtime == "tensorrt" else np.uint8)
        if runtime == "tensorrt":
            assert not pair.quantize.inputs[2].values.any()
    weights = {pair.weight.name for pair in pairs if pair.weight is not None}
    assert weights == {layer.name for layer in wanted.layers}
    images = run.images(model)
    before, after = run.logits(model, images), run.logits(pipeline.original_of(quantized), images)
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_is_quantised_or_left_with_a_reason(name: str, runtime: Name) -> None:
    model = network(name)
    every = [weight.node.name for weight in graphs.weights(model.graph)]
    switches = Switches(first=False, last=False, depthwise=False, tiny=False)
    for chosen in (Switches(), switches):
        found = place(model.graph, runtime, chosen)
        left = [one.node for one in found.left if one.op in graphs.WEIGHTED_OPS]
        assert sorted([layer.node.name for layer in found.layers] + left) == sorted(every)
        assert all(one.reason for one in found.left)
        assert all(site.readers and site.reasons for site in found.sites.values())
    assert any(one.reason == "qat.last=false" for one in found.left)
    assert any(one.reason == "qat.first=false" for one in found.left)


def test_ties_are_transitive_and_lines_say_it() -> None:
    model = models.from_proto(zoo.mlp())
    found = Placement(INT8)
    tensors = [tensor for node in model.graph.nodes for tensor in node.outputs][:4]
    for tensor in tensors:
        found.quantize(tensor, tensor.outputs, "trials")
    first, second, third, fourth = (tensor.name for tensor in tensors)
    found.tie([second, third])
    found.tie([third, first])
    assert [[site.tensor.name for site in group] for group in found.groups()] == [
        [first, second, third],
        [fourth],
    ]
    assert found.lines() == ["Q/DQ on 4 trials", "3 of them share 1 scales"]
