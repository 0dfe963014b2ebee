"""Which operators ONNX Runtime Training 1.19.2 differentiates, and where gradients stop.

Read from its sources (`gradient_builder_registry.cc` and `gradient_graph_builder.h`). A network is
checked before it reaches the gradient builder, which reports little and can end the process.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.errors import TrainingError

_OPERATORS = """
    Abs Add AveragePool BatchNormInternal Cast Clip Concat Conv ConvTranspose Cos Div Dropout Erf
    Exp Expand FakeQuant Flatten Gather GatherElements GatherND Gelu Gemm GlobalAveragePool Identity
    LayerNormalization LeakyRelu Log LogSoftmax MatMul Max MaxPool Min Mul Neg Pad Pow Reciprocal
    ReduceL2 ReduceLogSumExp ReduceMean ReduceSum Relu Reshape Resize ScatterElements ScatterND
    Sigmoid Sin Slice Softmax SoftmaxCrossEntropyLoss Split Sqrt Squeeze Sub Tanh Tile TopK
    Transpose Trilu Unsqueeze Where
"""
OPERATORS = frozenset(_OPERATORS.split())

# Inputs that no gradient flows through, by operator.
STOPPED_INPUTS: dict[str, frozenset[int]] = {
    op: frozenset(inputs)
    for names, inputs in (
        ("Not Shape Size ConstantOfShape NonZero IsInf IsNaN Where EyeLike", (0,)),
        ("And Or Xor Equal Less LessOrEqual Greater GreaterOrEqual", (0, 1)),
        ("BatchNormalization BatchNormInternal", (3, 4)),
        ("Pow Gather GatherElements GatherND Reshape Expand Scatter ScatterElements ScatterND", (1,)),
        ("Tile TopK Squeeze Unsqueeze ReduceSum ReduceMean Split", (1,)),
        ("Dropout SoftmaxCrossEntropyLoss Clip Pad FakeQuant", (1, 2)),
        ("Slice", (1, 2, 3, 4)),
        ("OneHot Range", (0, 1, 2)),
    )
    for op in names.split()
}


def differentiable_path(graph: gs.Graph, trainables: Iterable[str], loss: str) -> list[str]:
    """The trainables that the loss depends on, after checking every node between them and the loss.

    Args:
        graph: the training form.
        trainables: names of inputs of ``graph``.
        loss: name of a scalar output of ``graph``.

    Raises:
        TrainingError: a node on the way has no gradient (its name and the remedy are given), or no
            trainable reaches the loss.
    """
    names = set(trainables)
    moving = _downstream(graph, names)
    wanted = _upstream(graph, loss, moving)
    for node in graph.nodes:
        on_path = any(t.name in moving and t.name in wanted for t in node.outputs)
        if on_path and node.op not in OPERATORS:
            raise TrainingError(
                f"its operator {node.op} has no gradient in ONNX Runtime Training, and the weights "
                "before it cannot be trained",
                where=f"node {node.name}",
                fix="export the network with operators that have one, such as Relu, Clip, Sigmoid, "
                "Tanh, Add, Mul, ReduceMean or AveragePool",
            )
    reached = [name for name in trainables if name in wanted]
    if not reached:
        raise TrainingError(
            "no trainable tensor reaches the loss", where="train", fix="apply the passes again"
        )
    return reached


def _flows(node: gs.Node, index: int) -> bool:
    """Whether gradients flow from the outputs of ``node`` to its input ``index``."""
    if index in STOPPED_INPUTS.get(node.op, ()):
        return False
    if node.op == "Cast":
        return bool(node.attrs["to"] in (1, 10, 11, 16, np.float32, np.float16, np.float64))
    return _floating(node.inputs[index])


def _floating(tensor: gs.Tensor) -> bool:
    return tensor.dtype is None or np.issubdtype(np.dtype(tensor.dtype), np.floating)


def _downstream(graph: gs.Graph, names: set[str]) -> set[str]:
    """Tensors that depend differentiably on ``names``; the graph is sorted."""
    moving = set(names)
    for node in graph.nodes:
        if any(t.name in moving and _flows(node, i) for i, t in enumerate(node.inputs)):
            moving.update(t.name for t in node.outputs if _floating(t))
    return moving


def _upstream(graph: gs.Graph, loss: str, moving: set[str]) -> set[str]:
    """Tensors of ``moving`` that ``loss`` depends on differentiably."""
    wanted = {loss}
    for node in reversed(graph.nodes):
        if any(t.name in wanted for t in node.outputs):
            wanted.update(t.name for i, t in enumerate(node.inputs) if t.name in moving and _flows(node, i))
    return wanted
