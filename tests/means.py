"""Networks whose pooling is a ReduceMean, as PyTorch exports ``x.mean((2, 3))``."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


def with_mean(proto: onnx.ModelProto, *, keepdims: bool = False) -> onnx.ModelProto:
    """Each GlobalAveragePool becomes a ReduceMean, in place.

    Args:
        keepdims: False does so only where a Flatten is behind, which goes too.
    """
    graph = proto.graph
    for pool in [node for node in graph.node if node.op_type == "GlobalAveragePool"]:
        behind = [node for node in graph.node if node.input and node.input[0] == pool.output[0]]
        flat = next((node for node in behind if node.op_type == "Flatten"), None)
        if keepdims:
            pool.CopyFrom(_mean(proto, pool.input[0], pool.output[0], keepdims=1))
        elif flat is not None:
            pool.CopyFrom(_mean(proto, pool.input[0], flat.output[0], keepdims=0))
            graph.node.remove(flat)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def _mean(proto: onnx.ModelProto, x: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """Over height and width: an attribute up to opset 17, an input from 18 on."""
    inputs = [x]
    if proto.opset_import[0].version >= 18:
        inputs.append(f"{output}.axes")
        proto.graph.initializer.append(numpy_helper.from_array(np.array([-1, -2], np.int64), inputs[1]))
    else:
        attributes["axes"] = [2, 3]
    return helper.make_node("ReduceMean", inputs, [output], f"{output}/ReduceMean", **attributes)
