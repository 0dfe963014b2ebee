from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from onnx import TensorProto

from onnxcomp import losses, pipeline, recipe
from onnxcomp.errors import ModelError
from onnxcomp.model import from_proto
from onnxcomp.opset_up import raise_opset
from onnxcomp.verify import verify
from tests import run, zoo
from tests.deploy.test_opset import AXES, SHAPE, checked, single
from tests.deploy.test_qdq import run as answers

NETWORKS = {**zoo.ALL, **zoo.MORE}


@pytest.mark.parametrize("opsets", [(13, 14), (13, 21), (16, 18), (17, 21), (20, 21)], ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_answers_the_same(name: str, opsets: tuple[int, int]) -> None:
    model = from_proto(NETWORKS[name](opsets[0]))
    images = run.images(model)
    before = run.logits(model, images)
    nodes = [node.name for node in model.graph.nodes]
    values = {key: constant.values for key, constant in model.constants().items()}
    assert raise_opset(model.graph, opsets[1], where="network")
    verify(model, where="network")
    assert model.graph.opset == opsets[1]
    assert set(nodes) <= {node.name for node in model.graph.nodes}
    constants = model.constants()
    assert all(constants[key].values is array for key, array in values.items())
    # A newer kernel may sum in another order: float32 rounding.
    np.testing.assert_allclose(run.logits(model, images), before, atol=1e-6, rtol=0)


RAISED = [
    single("ReduceMean", 13, axes=[2, 3], keepdims=0),
    single("ReduceMax", 13, axes=[-1]),
    single("ReduceL2", 17, axes=[1]),
    single("ReduceSum", 13, [AXES]),
    single("AveragePool", 13, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
    single("AveragePool", 13, kernel_shape=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
    single("MaxPool", 13, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    single("Pad", 13, [np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)]),
    single("Pad", 13, [np.array([0, 0, 1, 0, 0, 0, 0, 1], np.int64)], mode="reflect"),
    single("Resize", 13, [None, np.array([1, 1, 2, 2], np.float32)], mode="nearest"),
    single("Resize", 13, [None, np.array([1, 1, 1.5, 0.5], np.float32)], mode="linear"),
    single("Split", 13, outputs=3, axis=1),
    single("Split", 13, [np.array([1, 5], np.int64)], outputs=2, axis=1),
    single("QuantizeLinear", 13, [np.float32(0.1), np.uint8(3)]),
    single("BatchNormalization", 13, [np.arange(1, 7, dtype=np.float32)] * 4),
    single("Clip", 13, [np.float32(-0.5), None]),
    single("Cast", 13, to=TensorProto.FLOAT16),
    single("Softmax", 13, axis=1),
    single("HardSwish", 14),
    single("LpPool", 13, kernel_shape=[2, 2]),
    single("Transpose", 13, perm=[0, 2, 3, 1]),
    single("LayerNormalization", 17, [np.ones(8, np.float32), np.zeros(8, np.float32)]),
]


@pytest.mark.parametrize("graph", RAISED, ids=lambda graph: f"{graph.nodes[0].op}-{graph.opset}")
def test_an_operator_answers_the_same(graph: gs.Graph) -> None:
    x = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    before = answers(graph, x)
    assert raise_opset(graph, 21, where="g")
    assert [(entry.domain, entry.version) for entry in checked(graph).opset_import] == [("", 21)]
    np.testing.assert_allclose(answers(graph, x), before, rtol=1e-6, atol=1e-6)  # float32 rounding


@pytest.mark.parametrize("name", ["densenet", "mobilenet_v3", "vit"])
def test_a_compression_form_stays_what_it_is(name: str) -> None:
    """Masks, Q/DQ, losses that no output needs for the moment: names, values and answers."""
    model = pipeline.apply(
        from_proto(NETWORKS[name](13)), recipe.parse("prune,qat,distill"), calibration=run.Observed()
    )
    images = run.images(model)
    before, roles = run.outputs(model, images), dict(model.roles)
    weights = dict(model.losses)
    losses.remove_total(model)
    nodes = {node.name for node in model.graph.nodes}
    raise_opset(model.graph, 21, where="network")
    assert nodes <= {node.name for node in model.graph.nodes}
    model.losses = weights
    losses.add_total(model)
    verify(model, where="network")
    assert model.roles == roles
    after = run.outputs(model, images)
    for key, expected in before.items():
        np.testing.assert_allclose(after[key], expected, atol=1e-6, rtol=1e-6, err_msg=key)


def test_inputs_and_outputs_keep_their_order() -> None:
    graph = single("Split", 13, outputs=3, axis=1)
    graph.outputs = [graph.outputs[2], graph.outputs[0]]
    raise_opset(graph, 18, where="g")
    assert [tensor.name for tensor in graph.outputs] == ["y2", "y0"]
    assert [tensor.name for tensor in graph.inputs] == ["x"]


def test_a_newer_graph_is_left_alone() -> None:
    graph = single("Relu", 17)
    node = graph.nodes[0]
    assert not raise_opset(graph, 17, where="g")
    assert not raise_opset(graph, 13, where="g")
    assert graph.nodes[0] is node
    assert graph.opset == 17


def test_what_has_no_adapter_is_refused() -> None:
    graph = single("Relu", 13)
    graph.nodes[0].op = "Unheard"
    with pytest.raises(ModelError) as caught:
        raise_opset(graph, 18, where="t.onnx")
    text = str(caught.value)
    assert text.startswith("t.onnx: cannot be brought from opset 13 to opset 18 (")
    assert text.endswith("); export it with opset 18, or the other network with opset 13")
