from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import graphs
from onnxcomp.errors import ModelError
from onnxcomp.masks import multiply_masks
from onnxcomp.model import from_proto
from onnxcomp.student import student
from tests import run, zoo
from tests.deploy.networks import compressed


@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet"])
def test_the_masked_weights_answer_the_same(name: str) -> None:
    model = student(compressed(from_proto(zoo.ALL[name]()), "prune"))
    images = run.images(model)
    before = run.logits(model, images)
    closed = {weight: mask.values == 0 for weight, mask in graphs.masks(model.graph).items()}
    masks, zeros = multiply_masks(model.graph)
    assert masks == len(closed) > 0
    assert zeros == sum(int(where.sum()) for where in closed.values()) > 0
    assert not graphs.masks(model.graph)
    constants = model.constants()
    for name_, where in closed.items():
        assert not np.signbit(constants[name_].values[where]).any()  # 0, not -0
        assert not constants[name_].values[where].any()
    assert np.array_equal(run.logits(model, images), before)


def test_a_weight_that_another_reads_unmasked_keeps_its_values() -> None:
    weight, x = gs.Constant("w", np.array([[1, -2]], np.float32)), gs.Variable("x", np.float32, (1, 1))
    masked, a, b = (gs.Variable(name, np.float32, (1, 2)) for name in ("masked", "a", "b"))
    mask = gs.Constant("mask", np.array([[1, 0]], np.float32))
    nodes = [
        gs.Node("Mul", "prune/w", {}, [weight, mask], [masked]),
        gs.Node("MatMul", "m", {}, [x, masked], [a]),
        gs.Node("MatMul", "n", {}, [x, weight], [b]),
    ]
    graph = gs.Graph(nodes, [x], [a, b], opset=17)
    assert multiply_masks(graph) == (1, 1)
    tensors = graph.tensors()
    assert tensors["w"].values.tolist() == [[1, -2]]
    assert tensors["masked"].values.tolist() == [[1, 0]]


def test_a_mask_of_something_computed_is_refused() -> None:
    x, y, z = (gs.Variable(name, np.float32, (1, 2)) for name in "xyz")
    nodes = [
        gs.Node("Relu", "r", {}, [x], [y]),
        gs.Node("Mul", "prune/y", {}, [y, gs.Constant("mask", np.ones((1, 2), np.float32))], [z]),
    ]
    with pytest.raises(ModelError, match="prune/y: masks a tensor that is not constant; apply prune again"):
        multiply_masks(gs.Graph(nodes, [x], [z], opset=17))
