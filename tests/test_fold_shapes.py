from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp.fold_shapes import fold_shapes
from onnxcomp.shape_inference import fill
from tests.training import networks
from tests.training.lowering import forward

ARITHMETIC = {"Shape", "Where", "Equal", "Unsqueeze"}


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_the_shapes_of_a_transformer_are_known(opset: int) -> None:
    model = networks.zoo_compression("vit", "distill", opset=opset)
    training = forward.skeleton(model)
    assert training.teacher is not None
    assert fold_shapes(training.graph) >= 20
    assert not ARITHMETIC & {node.op for part in (training.graph, training.teacher) for node in part.nodes}
    for tensor in training.graph.tensors().values():
        assert tensor.shape is not None
        assert all(isinstance(size, int) for size in tensor.shape), tensor
    forward.assert_same(forward.run(training), forward.run_model(model), 0.0)


def test_without_shapes_nothing_is_done() -> None:
    training = forward.skeleton(networks.zoo_compression("densenet"))
    nodes = list(training.graph.nodes)
    assert fold_shapes(training.graph) == 0
    assert training.graph.nodes == nodes


def test_part_of_a_shape() -> None:
    net = networks.Builder(0)
    x = networks.conv(net, "input", "conv", 3, 4)
    shape = net.node("Shape", [x], "channels", start=1, end=-2)
    batch = net.node("Shape", [x], "images", end=1)
    minus_one = net.constant("rest", np.array([-1], np.int64))
    target = net.node("Concat", [batch, shape, minus_one], "target", axis=0)
    x = net.node("Reshape", [x, target], "rows")
    x = net.node("Reshape", [x, net.constant("image", np.array([0, 0, 8, 8]))], "back")
    proto = net.model(networks.head(net, x, "fc", 4, 10), 17, ("N", 3, 8, 8), 10)
    training = forward.skeleton(networks.compression(proto))
    assert fold_shapes(training.graph) == 3
    assert training.graph.tensors()["rows"].shape == [networks.BATCH, 4, 64]


def test_what_depends_on_the_image_stays() -> None:
    net = networks.Builder(0)
    x = networks.conv(net, "input", "conv", 3, 4)
    whole = net.node("Cast", [x], "whole", to=7)
    x = net.node("Add", [x, net.node("Cast", [whole], "again", to=1)], "sum")
    proto = net.model(networks.head(net, x, "fc", 4, 10), 17, ("N", 3, 8, 8), 10)
    training = forward.skeleton(networks.compression(proto))
    assert fold_shapes(training.graph) == 0


def test_a_constant_that_a_node_reads_twice_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    """onnx-graphsurgeon complains on stdout of two tensors of one name."""
    one = gs.Constant("one", np.array([1], np.int64))
    shape = gs.Variable("shape", np.int64, (2,))
    x, y = gs.Variable("x", np.float32, (1, 4, 1)), gs.Variable("y", np.float32)
    nodes = [gs.Node("Concat", "concat", {"axis": 0}, [one, one], [shape])]
    nodes += [gs.Node("Expand", "expand", {}, [x, shape], [y])]
    graph = gs.Graph(nodes, [x], [y], opset=17)
    fill(graph)
    assert fold_shapes(graph) == 1
    assert graph.nodes[0].inputs[1].values.tolist() == [1, 1]
    assert capsys.readouterr() == ("", "")
