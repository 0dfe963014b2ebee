from __future__ import annotations

import itertools

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import graphs, macs
from onnxcomp.sensitivity import stages
from tests import run
from tests.sensitivity.naive import NETWORKS, SHARED, network, sharing


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("most", [1, 4, 1000])
def test_the_stages_one_after_another_are_the_network(name: str, most: int) -> None:
    """To 1e-5: sums are in another order where a piece computes over the pixels of all images."""
    model = network(name)
    images = run.images(model, 6)
    fixed = stages.static(model, 6)
    alive = {model.image.name: images}
    cuts = stages.boundaries(fixed, most=most)
    for source, target in itertools.pairwise(cuts):
        part = stages.session(stages.speed_up(stages.piece(fixed, source.alive, target.alive)), threads=1)
        outputs = [entry.name for entry in part.get_outputs()]
        feeds = {entry.name: alive[entry.name] for entry in part.get_inputs()}
        found = {**alive, **dict(zip(outputs, part.run(outputs, feeds), strict=True))}
        alive = {name: found[name] for name in target.alive}
    np.testing.assert_allclose(alive[model.logits.name], run.logits(model, images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NETWORKS)
def test_stages_have_about_as_many_layers(name: str) -> None:
    fixed = stages.static(network(name), 2)
    assert len(stages.boundaries(fixed, most=1)) == 2
    cuts = stages.boundaries(fixed, most=5)
    assert 3 <= len(cuts) <= 6
    assert [cut.cost for cut in cuts] == sorted(cut.cost for cut in cuts)
    assert cuts[0].alive == (fixed.image.name,)
    assert cuts[-1].alive == (fixed.logits.name,)
    assert cuts[-1].cost == macs.total(fixed.graph)
    layers = len(list(graphs.weights(fixed.graph)))
    assert cuts[-1].layers == layers
    assert max(np.diff([cut.layers for cut in cuts])) <= layers / min(layers, 5) + 2


def test_no_more_is_held_than_there_is_room_for() -> None:
    fixed = stages.static(network("densenet"), 2)
    sizes = [cut.size for cut in stages.boundaries(fixed, most=1000)[1:-1]]
    room = sorted(sizes)[len(sizes) // 2]
    fitting = [cut.size for cut in stages.boundaries(fixed, most=1000, room=room)[1:-1]]
    assert max(sizes) > room >= max(fitting)
    assert len(stages.boundaries(fixed, room=1)) == 2


@pytest.mark.parametrize("name", ["mobilenet", "resnet", "densenet"])
def test_no_stage_begins_with_what_clips(name: str) -> None:
    """What ONNX Runtime would take away before a QuantizeLinear, and cannot."""
    fixed = stages.static(network(name), 2)
    cuts = stages.boundaries(fixed, most=1000)
    assert len(cuts) > 5
    for source, target in itertools.pairwise(cuts):
        graph = stages.piece(fixed, source.alive, target.alive).graph
        readers = [node.op for tensor in graph.inputs for node in tensor.outputs]
        assert not {"Relu", "Clip"} & set(readers)


def test_what_is_alive_is_what_later_nodes_read() -> None:
    fixed = stages.static(network("densenet"), 2)
    for cut in stages.boundaries(fixed, most=1000)[1:-1]:
        tensors = fixed.graph.tensors()
        before = {id(node) for node in _before([tensors[name] for name in cut.alive])}
        read = {t.name for node in fixed.graph.nodes if id(node) not in before for t in node.inputs}
        written = {t.name for node in fixed.graph.nodes if id(node) in before for t in node.outputs}
        assert read & (written | {fixed.image.name}) == set(cut.alive)


def _before(ends: list[gs.Tensor]) -> list[gs.Node]:
    found: dict[int, gs.Node] = {}
    while ends:
        for node in ends.pop().inputs:
            found[id(node)] = node
            ends += node.inputs
    return list(found.values())


def test_a_piece_is_a_copy_without_what_it_does_not_need() -> None:
    fixed = stages.static(network("resnet"), 2)
    cuts = stages.boundaries(fixed, most=4)
    count = len(fixed.graph.nodes)
    parts = [stages.piece(fixed, a.alive, b.alive) for a, b in itertools.pairwise(cuts)]
    assert len(fixed.graph.nodes) == count == sum(len(part.graph.nodes) for part in parts)
    for part in parts:
        inside = {id(node) for node in part.graph.nodes}
        for tensor in part.graph.tensors().values():
            assert {id(node) for node in (*tensor.inputs, *tensor.outputs)} <= inside


def test_a_weight_can_be_an_input() -> None:
    model = network("resnet")
    fixed = stages.static(model, 4)
    images = run.images(model, 4)
    first, *_, last = stages.cuts(fixed)
    name = list(graphs.weights(fixed.graph))[2].name
    values = np.random.default_rng(1).standard_normal(fixed.constants()[name].shape).astype(np.float32)
    part = stages.with_weight_as_input(stages.piece(fixed, first.alive, last.alive), name)
    (found,) = stages.session(part, threads=1).run(None, {model.image.name: images, name: values})
    model.constants()[name].values = values
    # 1e-4: the random weight makes activations of some hundreds
    np.testing.assert_allclose(found, run.logits(model, images), rtol=1e-5, atol=1e-4)


def test_each_node_lies_in_its_stage() -> None:
    fixed = stages.static(sharing(), 2)
    cuts = stages.boundaries(fixed, most=1000)
    parts = [stages.piece(fixed, a.alive, b.alive) for a, b in itertools.pairwise(cuts)]
    found = stages.of_nodes(parts)
    assert set(found) == {node.name for node in fixed.graph.nodes}
    assert all(first == last for first, last in found.values())
    order = [found[node.name] for node in fixed.graph.nodes]
    assert order == sorted(order)
    readers = [node.name for node in fixed.graph.tensors()[SHARED].outputs]
    assert found[readers[0]] < found[readers[1]]
