from __future__ import annotations

import pytest

from onnxcomp.training.lowering import PROJECTED, lower
from onnxcomp.training.ort.gradients import differentiate
from tests.training import networks


@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet"])
def test_masks_and_range_checks_of_weights_are_gone(name: str) -> None:
    model = networks.zoo_compression(name, "prune,qat,distill")
    graphs = {}
    for without in ((), (PROJECTED,)):
        training = lower(model, 2, without=without)
        graphs[without], _ = differentiate(training)
    masks = sum(node.op == "Mul" and node.name.startswith("prune/") for node in model.graph.nodes)
    weights = sum(
        node.op == "QuantizeLinear" and len(node.inputs[1].shape) == 1 for node in model.graph.nodes
    )
    ops = {without: [node.op_type for node in proto.graph.node] for without, proto in graphs.items()}
    assert masks > 0
    assert weights > 0
    for op, gone in {"Abs": weights, "Less": weights, "Identity": -masks - 2 * weights}.items():
        assert ops[PROJECTED,].count(op) - ops[()].count(op) == gone, op
    # The gradients of masked weights are masked as before.
    mask_names = {tensor.name for tensor in model.graph.tensors().values() if tensor.name.endswith(".mask")}
    read = [node for node in graphs[()].graph.node if mask_names & set(node.input)]
    assert len(read) == masks
