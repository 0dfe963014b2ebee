from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.sensitivity import known, stages
from tests import run
from tests.sensitivity.naive import NETWORKS, network


def tail(name: str, at: int, batch: int = 4) -> tuple[Model, dict[str, np.ndarray], np.ndarray]:
    """What comes behind the ``at``-th layer of a network, what it reads, and the logits."""
    fixed = stages.static(network(name), batch)
    images = run.images(fixed, batch)
    first, *cuts = stages.cuts(fixed)
    cut = next(cut for cut in cuts if cut.layers == at)
    before = stages.session(stages.piece(fixed, first.alive, cut.alive), threads=1)
    names = [entry.name for entry in before.get_outputs()]
    values = dict(zip(names, before.run(names, {fixed.image.name: images}), strict=True))
    part = stages.piece(fixed, cut.alive, cuts[-1].alive)
    values[fixed.image.name] = images
    return part, values, run.logits(network(name), images)


def logits(part: Model, values: dict[str, np.ndarray]) -> np.ndarray:
    session = stages.session(part, threads=1)
    (found,) = session.run(None, {entry.name: values[entry.name] for entry in session.get_inputs()})
    return np.asarray(found)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_the_answers_stay(name: str, at: int) -> None:
    """To 1e-5: sums over channels are in another order. Whichever of the inputs are taken for fixed."""
    part, values, expected = tail(name, min(at, len(list(graphs.weights(network(name).graph))) - 1))
    inputs = [tensor.name for tensor in part.graph.inputs]
    for fixed in ([], inputs[:1], inputs[1:], inputs):
        copy = stages.piece(part, inputs, [part.logits.name])
        known.part(copy.graph, fixed)
        np.testing.assert_allclose(logits(copy, values), expected, rtol=0, atol=1e-5)


def test_a_convolution_of_a_concatenation_reads_what_moves_alone() -> None:
    """In the first dense block of 16 + 8 + 8 channels, the second layer's 8 move."""
    fixed = stages.static(network("densenet"), 4)
    block = [t for t in fixed.graph.tensors() if "denseblock1" in t and t.endswith("Concat_output_0")]
    source = fixed.graph.tensors()[block[0]].inputs[0].inputs
    names = [tensor.name for tensor in source]
    part = stages.piece(fixed, names, [fixed.logits.name])
    before = {weight.name: tuple(weight.tensor.shape) for weight in graphs.weights(part.graph)}
    known.part(part.graph, names[:1])
    after = {weight.name: tuple(weight.tensor.shape) for weight in graphs.weights(part.graph)}
    name = "features.denseblock1.denselayer2.conv1.weight"
    assert before[name] == (32, 24, 1, 1)
    assert name not in after
    split = sorted(shape[1] for found, shape in after.items() if found not in before)
    assert split[0] == 8  # of denselayer2
    assert sum(split) == 24 + before["features.transition1.conv.weight"][1]
    ends = known.boundary(part.graph, names[:1])
    assert all(
        fixed.graph.tensors().get(end) is None for end in ends
    )  # computed before, not the input itself
    assert len(ends) == 2


def test_nothing_to_part() -> None:
    fixed = stages.static(network("resnet"), 2)
    cuts = list(stages.cuts(fixed))
    part = stages.piece(fixed, cuts[3].alive, cuts[-1].alive)
    ops = [node.op for node in part.graph.nodes]
    known.part(part.graph, [])
    assert [node.op for node in part.graph.nodes] == ops
    assert known.boundary(part.graph, []) == []


def test_channels_keep_their_places() -> None:
    """Fixed and moving alternate, through a negative axis, a concatenation of another, and pools."""
    rng = np.random.default_rng(0)
    inputs = [
        gs.Variable(name, np.float32, [2, width, 4, 4]) for name, width in (("a", 2), ("b", 3), ("c", 1))
    ]
    a, b, c = inputs
    graph = gs.Graph(inputs=inputs, opset=17)

    def add(op: str, *tensors: gs.Tensor, shape: list[int], **attrs: object) -> gs.Variable:
        output = gs.Variable(f"t{len(graph.nodes)}", np.float32, shape)
        graph.nodes.append(gs.Node(op, output.name, attrs, list(tensors), [output]))
        return output

    def constant(name: str, *shape: int) -> gs.Constant:
        return gs.Constant(name, rng.random(shape, np.float32) + 0.5)

    inner = add("Concat", a, b, shape=[2, 5, 4, 4], axis=-3)
    outer = add("Concat", c, inner, b, shape=[2, 9, 4, 4], axis=1)
    norm = add(
        *("BatchNormalization", outer),
        *(constant(f"bn{i}", 9) for i in range(4)),
        shape=[2, 9, 4, 4],
        epsilon=1e-3,
    )
    pooled = add("AveragePool", norm, shape=[2, 9, 2, 2], kernel_shape=[2, 2], strides=[2, 2])
    weight, bias = constant("w", 4, 9, 2, 2), constant("bias", 4)
    conv = add("Conv", pooled, weight, bias, shape=[2, 4, 1, 1], kernel_shape=[2, 2])
    whole = add("GlobalMaxPool", norm, shape=[2, 9, 1, 1])
    graph.outputs = [add("Concat", conv, whole, shape=[2, 13, 1, 1], axis=1)]
    model = Model(graph)
    values = {t.name: rng.standard_normal(t.shape).astype(np.float32) for t in inputs}
    expected = logits(model, values)
    known.part(graph, ["a", "c"])
    shapes = sorted(tuple(node.inputs[1].shape) for node in graph.nodes if node.op == "Conv")
    assert shapes == [(4, 3, 2, 2), (4, 6, 2, 2)]
    np.testing.assert_allclose(logits(model, values), expected, rtol=0, atol=1e-5)


def test_the_boundary_holds_what_is_read_and_what_is_an_output() -> None:
    fixed = stages.static(network("resnet"), 2)
    add = next(
        node for node in fixed.graph.nodes if node.op == "Add" and not isinstance(node.inputs[1], gs.Constant)
    )
    left, right = add.inputs
    part = stages.piece(fixed, [left.name, right.name], [fixed.logits.name])
    assert known.boundary(part.graph, [left.name]) == [left.name]
    assert known.boundary(part.graph, [left.name, right.name]) == [fixed.logits.name]
    assert known.boundary(part.graph, []) == []
