"""Which operators ONNX Runtime Training 1.19.2 differentiates, and where gradients stop.

Read from its sources (`gradient_builder_registry.cc` and `gradient_graph_builder.h`), and tried. A network is
checked before it reaches the gradient builder, which reports little and can end the process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.errors import TrainingError

_OPERATORS = """
    Abs Add AveragePool BatchNormInternal Cast Clip Concat Conv Cos Div Erf Exp Expand FakeQuant
    Flatten Gather GatherElements GatherND Gelu Gemm GlobalAveragePool Identity LayerNormalization
    LeakyRelu Log LogSoftmax MatMul Max MaxPool Min Mul Neg Pad Pow Reciprocal ReduceL2
    ReduceLogSumExp ReduceMean ReduceSum Relu Reshape ScatterElements ScatterND Sigmoid Sin Slice
    Softmax SoftmaxCrossEntropyLoss Split Sqrt Squeeze Sub Tanh Tile TopK Transpose Trilu Unsqueeze
    Where
"""
OPERATORS = frozenset(_OPERATORS.split())
"""Each has a test of its gradient. ConvTranspose and Resize are not here: ONNX Runtime writes their
gradients, but has no CPU kernel that computes them."""

# Inputs that no gradient flows through, by operator.
STOPPED_INPUTS: dict[str, frozenset[int]] = {
    op: frozenset(inputs)
    for names, inputs in (
        ("Not Shape Size ConstantOfShape NonZero IsInf IsNaN Where EyeLike", (0,)),
        ("And Or Xor Equal Less LessOrEqual Greater GreaterOrEqual", (0, 1)),
        ("BatchNormalization BatchNormInternal", (3, 4)),
        ("Gather GatherElements GatherND Reshape Expand Scatter ScatterElements ScatterND", (1,)),
        ("Tile TopK Squeeze Unsqueeze ReduceSum ReduceMean Split", (1,)),
        ("SoftmaxCrossEntropyLoss FakeQuant", (1, 2)),
        ("Pad", (1,)),
        ("Slice", (1, 2, 3, 4)),
        ("OneHot Range", (0, 1, 2)),
    )
    for op in names.split()
}

# Gradients flow through these too, but ONNX Runtime leaves them out.
LEFT_OUT: dict[str, frozenset[int]] = {
    "Pow": frozenset((1,)),
    "Clip": frozenset((1, 2)),
    "Pad": frozenset((2,)),
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
        obstacle = _obstacle(node, moving, wanted) if on_path else ""
        if obstacle:
            raise TrainingError(
                f"{obstacle}, and the weights before it cannot be trained",
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


def _obstacle(node: gs.Node, moving: set[str], wanted: set[str]) -> str:
    """Why there is no gradient of ``node``, or "" where there is one."""
    if node.op not in OPERATORS:
        return f"its operator {node.op} has no gradient in ONNX Runtime Training"
    left_out = [i for i in LEFT_OUT.get(node.op, ()) if i < len(node.inputs)]
    if any(node.inputs[i].name in moving for i in left_out):
        return f"{node.op} has no gradient in ONNX Runtime Training by its input {left_out[0]}"
    form = FORMS.get(node.op)
    if form is not None and form(node):
        return f"{node.op} {form(node)} has no gradient in ONNX Runtime Training"
    if node.op == "Split" and not all(t.name in moving and t.name in wanted for t in node.outputs):
        return "Split of which a part does not lead to the loss has no gradient in ONNX Runtime Training"
    return ""


def _of_vector(node: gs.Node) -> str:
    ranks = [None if tensor.shape is None else len(tensor.shape) for tensor in node.inputs]
    return "of a vector" if ranks[1] == 1 or (ranks[0] == 1 and ranks[1] != 2) else ""


def _dilated(node: gs.Node) -> str:
    return "with dilations" if any(d != 1 for d in node.attrs.get("dilations", ())) else ""


def _reducing(node: gs.Node) -> str:
    mode = node.attrs.get("reduction", "none")
    return "" if mode == "none" else f"with reduction={mode}"


FORMS: dict[str, Callable[[gs.Node], str]] = {
    "AveragePool": _dilated,  # it is ignored
    "MatMul": _of_vector,
    "ScatterElements": _reducing,  # so is this
    "ScatterND": _reducing,
}
"""Forms of operators whose gradients are wrong or cannot be built: says which, or ""."""


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
