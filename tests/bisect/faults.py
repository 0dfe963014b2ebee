"""INT8 networks with a planted fault."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.deploy.finalize import finalize
from onnxcomp.deploy.targets import get_target
from onnxcomp.model import Model
from tests import pictures
from tests.deploy.networks import compressed

SHARED = "qat{concat=shared}"


def int8(name: str, target: str = "xavier", recipe: str = "qat") -> tuple[Model, Model]:
    """(the network in float, its deployable file)."""
    model = pictures.network(name)
    form = get_target(target)
    return model, finalize(compressed(model, recipe, placement=form.placement), form)


def middle(candidate: Model) -> gs.Node:
    """A convolution in the middle whose weight is quantised."""
    found = [node for node in candidate.graph.nodes if node.op == "Conv" and node.inputs[1].inputs]
    return found[len(found) // 2]


def scale_off(candidate: Model) -> str:
    """One weight is dequantised by four times its scales; names the convolution."""
    node = middle(candidate)
    dequantize = node.inputs[1].inputs[0]
    scale = dequantize.inputs[1]
    dequantize.inputs[1] = gs.Constant(f"{scale.name}.off", 4 * scale.values)
    return str(node.name)


def swapped(candidate: Model) -> str:
    """Two output channels of a weight have changed places; names the convolution."""
    node = middle(candidate)
    tensor = node.inputs[1]
    while not isinstance(tensor, gs.Constant):
        tensor = tensor.inputs[0].inputs[0]
    values = np.array(tensor.values)
    values[[0, 1]] = values[[1, 0]]
    tensor.values = values
    return str(node.name)


def own_scale(candidate: Model) -> str:
    """One tensor is quantised for a Concat by a third of the shared scale; names the Concat."""
    concats = [node for node in candidate.graph.nodes if node.op == "Concat"]
    node = concats[len(concats) // 2]
    quantize = next(
        tensor.inputs[0]
        for tensor in node.inputs
        if len(tensor.outputs) == 1 and tensor.inputs[0].op == "QuantizeLinear"
    )
    scale = quantize.inputs[1]
    quantize.inputs[1] = gs.Constant(f"{scale.name}.own", np.asarray(scale.values / 3, np.float32))
    return str(node.name)
