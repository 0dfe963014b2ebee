"""Run a loss of arrays, and differentiate it as training does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxcomp import extras
from onnxcomp.fold_shapes import fold_shapes
from onnxcomp.model import IR_VERSION
from onnxcomp.shape_inference import fill
from onnxcomp.training.lowering.operators import LATE, OPERATORS
from onnxcomp.training.lowering.parameters import Training

Build = Callable[[gs.Graph, list[gs.Variable]], gs.Variable]
Float64 = Callable[..., np.float64]
OPSETS = [13, 17, 18, 21]


def graph_of(build: Build, opset: int, arrays: Sequence[np.ndarray], *, batch: str | None = None) -> gs.Graph:
    """The loss of inputs ``x0``, ``x1``, ... as a graph.

    Args:
        batch: name of a free first axis; None for that of the arrays.
    """
    shapes = [[batch or a.shape[0], *a.shape[1:]] for a in arrays]
    inputs = [
        gs.Variable(f"x{i}", a.dtype.type, s) for i, (a, s) in enumerate(zip(arrays, shapes, strict=True))
    ]
    graph = gs.Graph(inputs=inputs, opset=opset, ir_version=8)
    output = build(graph, inputs)
    output.shape, output.dtype = (), np.float32
    graph.outputs = [output]
    return graph.cleanup().toposort()


def value(build: Build, opset: int, *arrays: np.ndarray) -> float:
    """The loss in ONNX Runtime, of a file with a free batch."""
    proto = gs.export_onnx(graph_of(build, opset, arrays, batch="N"))
    onnx.checker.check_model(proto, full_check=True)
    session = extras.onnxruntime().InferenceSession(proto.SerializeToString())
    names = {entry.name for entry in session.get_inputs()}
    feeds = {f"x{i}": a for i, a in enumerate(arrays) if f"x{i}" in names}
    (result,) = session.run(None, feeds)
    assert result.shape == ()
    return float(result)


def gradient(build: Build, opset: int, *arrays: np.ndarray) -> np.ndarray:
    """By the first array, as ONNX Runtime Training computes it in a training step."""

    def behind(graph: gs.Graph, inputs: list[gs.Variable]) -> gs.Variable:
        """As in a network, where the student's tensor is no parameter."""
        own = gs.Variable("own", np.float32, inputs[0].shape)
        graph.nodes.append(gs.Node("Identity", "own", inputs=inputs[:1], outputs=[own]))
        return build(graph, [own, *inputs[1:]])

    graph = graph_of(behind, opset, arrays)
    loss = graph.outputs[0].name
    fill(graph)
    fold_shapes(graph)
    training = Training(graph, "", "", (loss,))
    for lowering in (*OPERATORS, *LATE):
        lowering.run(training)
    proto = gs.export_onnx(graph.toposort(), do_type_check=False)
    proto.ir_version = IR_VERSION
    options = extras.onnxruntime().SessionOptions()
    options.log_severity_level = 4
    builder = extras.training_bindings().GradientGraphBuilder(
        proto.SerializeToString(), {loss}, {"x0"}, loss, options
    )
    builder.build()
    proto = onnx.load_from_string(builder.get_model())
    proto.graph.output.append(onnx.helper.make_empty_tensor_value_info("x0_grad"))
    session = extras.onnxruntime().InferenceSession(proto.SerializeToString(), options)
    names = {entry.name for entry in session.get_inputs()}
    feeds = {f"x{i}": a for i, a in enumerate(arrays) if f"x{i}" in names}
    (found,) = session.run(["x0_grad"], feeds)
    return np.asarray(found)


def differences(formula: Float64, *arrays: np.ndarray, step: float = 1e-5) -> np.ndarray:
    """Central differences of a float64 formula by its first array."""
    first = arrays[0].astype(np.float64)
    result = np.empty_like(first)
    for index in np.ndindex(first.shape):
        ends = []
        for sign in (1, -1):
            moved = first.copy()
            moved[index] += sign * step
            ends.append(formula(moved, *arrays[1:]))
        result[index] = (ends[0] - ends[1]) / (2 * step)
    return result


def assert_formula(
    build: Build, formula: Float64, opset: int, *arrays: np.ndarray, of_value: float = 1e-5
) -> None:
    """Value and gradient are the formula's: relative to the value, and to the gradient's largest element.

    Both to 1e-5 unless ``of_value`` says another for the value. What is exactly 0 in the formula may be
    rounded by 1e-7, a unit of float32 at 1.
    """
    wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
    expected = float(formula(*wide))
    assert abs(value(build, opset, *arrays) - expected) <= of_value * abs(expected) + 1e-7
    exact = differences(formula, *wide)
    error = np.abs(gradient(build, opset, *arrays) - exact).max()
    assert error <= 1e-5 * np.abs(exact).max() + 1e-7
