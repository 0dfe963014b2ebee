"""ReluGrad is a loop over scalars in ONNX Runtime; a comparison and a masked copy are seven times faster."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from onnxcomp.training.lowering.base import GradientLowering
from onnxcomp.training.lowering.edit import MICROSOFT, PREFIX


def lower_relu_gradient(graph: onnx.GraphProto) -> int:
    """Replace every ReluGrad by ``Greater(x, 0)`` and FakeQuantGrad, a gradient times a mask.

    The second input of ReluGrad is Relu's output or its input; both are above 0 at the same places.
    """
    zero = f"{PREFIX}relu_gradient.zero"
    nodes: list[NodeProto] = []
    count = 0
    for node in graph.node:
        if node.op_type != "ReluGrad":
            nodes.append(NodeProto.FromString(node.SerializeToString()))
            continue
        gradient, tensor = node.input
        positive = f"{node.output[0]}.positive"
        masked = helper.make_node("FakeQuantGrad", [gradient, positive], node.output, node.name)
        masked.domain = MICROSOFT
        nodes += [helper.make_node("Greater", [tensor, zero], [positive]), masked]
        count += 1
    if count:
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), zero))
    return count


LOWERING = GradientLowering(
    "relu gradient", "every ReluGrad, which is a loop over scalars", lower_relu_gradient
)
