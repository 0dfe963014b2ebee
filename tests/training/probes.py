"""Networks in which an operator works on parameters alone, so that its inputs can be chosen.

The gradient of a parameter is then that of the operator, element by element.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

from onnxcomp.model import Model
from onnxcomp.training.engine import build
from tests.builder import Builder, head
from tests.float64 import Float64
from tests.training.lowering import forward
from tests.training.networks import BATCH, CLASSES, SIZE, batch, compression

STEP = 1e-6  # of central differences in float64: their error is about 1e-9
TOLERANCE = 2e-6  # of a gradient, relative to the largest of its tensor; measured: at most 5e-7
FORWARD = 1e-5  # absolute, of logits of size 1; measured: at most 3e-6

Write = Callable[[Builder, list[str]], str]


def probe(
    write: Write, *values: np.ndarray, opset: int = 17, scale: float = 1.0, elements: int | None = None
) -> Model:
    """A network that adds a random linear function of nodes' result to the logits of every image.

    Args:
        write: gets the names of tensors that hold ``values`` and returns the name of its result.
        values: become the parameters ``p0``, ``p1``...
        scale: of the linear function; the loss should not saturate.
        elements: of the result, where inference of shapes cannot tell.
    """
    net = Builder(11)
    one = net.constant("one", np.array(1, np.float32))
    names = [
        net.node("Mul", [net.constant(f"p{i}", v.astype(np.float32)), one], f"x{i}", f"in{i}")
        for i, v in enumerate(values)
    ]
    y = write(net, names)
    elements = elements or _elements(net, y, opset)
    flat = net.constant("flat.shape", np.array([1, elements], np.int64))
    y = net.node("Reshape", [y, flat], "flat", "flat")
    matrix = net.rng.normal(0, scale / np.sqrt(elements), (elements, CLASSES)).astype(np.float32)
    y = net.node("MatMul", [y, net.constant("matrix", matrix)], "probed", "probed")
    x = head(net, "input", "fc", 3, CLASSES)
    x = net.node("Add", [x, y], "joined", "joined")
    return compression(net.model(x, opset, ("N", 3, SIZE, SIZE), CLASSES))


def _elements(net: Builder, name: str, opset: int) -> int:
    graph = onnx.helper.make_graph(net.nodes, "part", [], [], net.initializers)
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    proto = onnx.shape_inference.infer_shapes(proto, data_prop=True, strict_mode=True)
    (info,) = [info for info in proto.graph.value_info if info.name == name]
    return math.prod(dim.dim_value for dim in info.type.tensor_type.shape.dim)


def node(op: str, *inputs: Any, outputs: int = 1, pick: int = 0, **attributes: Any) -> Write:
    """Writes one node called ``tested``.

    Args:
        inputs: ``...`` for the next parameter, None for an absent one, else a constant's values.
        pick: which of the outputs is the result.
    """

    def write(net: Builder, names: list[str]) -> str:
        parameters = iter(names)
        words = []
        for index, value in enumerate(inputs or [...] * len(names)):
            if value is ...:
                words.append(next(parameters))
            elif value is None:
                words.append("")
            else:
                words.append(net.constant(f"constant{index}", np.asarray(value)))
        results = [f"result{i}" for i in range(outputs)]
        net.nodes.append(onnx.helper.make_node(op, words, results, "tested", **attributes))
        return results[pick]

    return write


def float32(*values: float) -> np.ndarray:
    """A vector, or a scalar of one value."""
    return np.array(values if len(values) != 1 else values[0], np.float32)


def gradients(model: Model) -> dict[str, np.ndarray]:
    """Those of the parameters ``p0``, ``p1``... after a step whose logits are those of the file's graph."""
    engine = build(model, batch_size=BATCH, threads=1)
    result = engine.step(*batch())
    expected = forward.run_model(model)[model.logits.name]
    np.testing.assert_allclose(result.logits, expected, rtol=FORWARD, atol=FORWARD)
    return {name: g for name, g in engine.gradients.items() if re.fullmatch(r"p\d+", name)}


def check(model: Model) -> None:
    """Every element of the parameters' gradients equals central differences of the float64 reference."""
    reference = Float64(model, *batch())
    (loss,) = reference({}, ["loss"])  # records rounding errors where they are
    assert np.isfinite(loss)
    found = gradients(model)
    np.testing.assert_allclose(loss, forward.run_model(model)["loss"], rtol=1e-5)
    assert found
    for name, gradient in found.items():
        start = model.constants()[name].values.astype(np.float64)
        slopes = np.zeros_like(start)
        for index in np.ndindex(start.shape):
            moved = [start.copy(), start.copy()]
            moved[0][index] += STEP
            moved[1][index] -= STEP
            ahead, behind = (float(reference({name: values}, ["loss"])[0]) for values in moved)
            slopes[index] = (ahead - behind) / (2 * STEP)
        size = float(np.abs(slopes).max())
        assert size > 1e-6, f"{name} does not matter"
        np.testing.assert_allclose(gradient, slopes, rtol=0, atol=TOLERANCE * size + 1e-9, err_msg=name)


def slopes(write: Write, *values: np.ndarray, opset: int = 17, scale: float = 1.0) -> list[np.ndarray]:
    """The gradients by ``values`` of an elementwise operator, divided by that of its result.

    So they are its derivatives, at points where a difference quotient does not say what they should be.
    """
    model = probe(write, *values, opset=opset, scale=scale)
    found = gradients(model)
    (result,) = Float64(model, *batch())({}, [model.graph.nodes[_index(model)].outputs[0].name])
    above = probe(node("Neg"), -np.asarray(result), opset=opset, scale=scale)
    return [found[f"p{i}"] / -gradients(above)["p0"] for i in range(len(values))]


def _index(model: Model) -> int:
    return next(i for i, n in enumerate(model.graph.nodes) if n.name == "tested")
