from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.training.lowering.fake_quant import lower_fake_quant
from tests.training import networks
from tests.training.lowering import forward
from tests.training.lowering.test_exact import trainables


def test_weights_use_127_and_activations_128() -> None:
    model = networks.zoo_compression("densenet", "prune,qat")
    training = forward.skeleton(model)
    count = lower_fake_quant(training.graph, trainables(training))
    assert count == len(list(graphs.quantizers(model.graph)))
    nodes = [node for node in training.graph.nodes if node.op == "FakeQuant"]
    lowest = {node.attrs["quant_min"] for node in nodes if node.inputs[0].inputs[:1] and _scaled(node)}
    assert lowest == {-127}
    assert {node.attrs["quant_min"] for node in nodes if not _scaled(node)} == {-128}
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op for node in training.graph.nodes}


def test_a_gemm_is_scaled_along_its_output_axis() -> None:
    training = forward.skeleton(networks.zoo_compression("mlp", "qat"))
    lower_fake_quant(training.graph, trainables(training))
    shapes = {
        node.inputs[1].inputs[0].inputs[0].name: node.inputs[1].inputs[0].inputs[1].values.tolist()
        for node in training.graph.nodes
        if node.op == "Div"
    }
    assert shapes == {"w1.scale": [1, -1], "w2.scale": [1, -1]}


def test_scales_stay_inputs() -> None:
    training = forward.skeleton(networks.zoo_compression("densenet", "qat"))
    lower_fake_quant(training.graph, trainables(training))
    before = forward.run(training)["loss"]
    training.parameters["classifier.weight.scale"][...] *= np.float32(3)
    assert forward.run(training)["loss"] != before


def _scaled(node: gs.Node) -> bool:
    return bool(node.inputs[0].inputs) and node.inputs[0].inputs[0].op == "Div"
