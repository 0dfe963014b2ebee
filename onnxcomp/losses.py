"""The task loss and the total: what makes a network trainable from its file alone.

Loss subgraphs use only operators that mean the same from opset 13 to 21.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.errors import TrainingError
from onnxcomp.model import LABELS, LOSS, Form, Model

TASK = "loss/task"


def add_node(graph: gs.Graph, op: str, name: str, inputs: list[gs.Tensor], **attrs: object) -> gs.Variable:
    """Append a node of the loss called ``name``; its only output bears the same name."""
    output = gs.Variable(name, np.float32)
    graph.nodes.append(gs.Node(op, name, dict(attrs), inputs, [output]))
    return output


def scalar(name: str, value: float) -> gs.Constant:
    """A float32 constant of shape ()."""
    return gs.Constant(name, np.array(value, np.float32))


def add_total(model: Model) -> None:
    """Close the compression form: task loss and its input of labels, ``loss = sum(weight * term)``, outputs.

    A model without losses gets the task loss, with weight 1; one whose losses do not name it loses it, and
    the input that no node reads then. The total is built anew, so the function may be called again after
    another pass.
    """
    graph = model.graph
    remove_total(model)
    if not model.losses:
        model.losses[TASK] = 1.0
    if TASK not in model.losses:
        _remove_task_loss(graph)
        graph.inputs = [tensor for tensor in graph.inputs if tensor.name != LABELS or tensor.outputs]
    terms = {output.name: output for node in graph.nodes for output in node.outputs}
    if TASK in model.losses and TASK not in terms:
        terms[TASK] = _add_task_loss(model)
    model.losses = {name: model.losses[name] for name in sorted(model.losses, key=lambda n: n != TASK)}
    total: gs.Variable | None = None
    for name, weight in model.losses.items():
        share = add_node(
            graph, "Mul", f"loss/total/{name}", [terms[name], scalar(f"loss/total/{name}.weight", weight)]
        )
        total = share if total is None else add_node(graph, "Add", f"loss/total/+{name}", [total, share])
    assert total is not None
    total.name, total.shape = LOSS, ()
    logits = model.logits
    outputs = [terms[name] for name in model.losses]
    for output in outputs:
        output.shape, output.dtype = (), np.float32
    graph.outputs = [logits, total, *outputs]
    graph.toposort()
    model.form = Form.COMPRESSION


def remove_total(model: Model) -> None:
    """Take the total away, keeping the terms."""
    graph = model.graph
    graph.outputs = [model.logits]
    for node in graph.nodes:
        if node.name.startswith("loss/total"):
            node.inputs.clear()
            node.outputs.clear()
    graph.nodes = [node for node in graph.nodes if not node.name.startswith("loss/total")]


def labels(model: Model) -> gs.Variable:
    """The input ``labels``, int64 (N,), added if it is not there."""
    for tensor in model.graph.inputs:
        if tensor.name == LABELS:
            return tensor
    tensor = gs.Variable(LABELS, np.int64, (model.logits.shape[0],))
    model.graph.inputs = [*model.graph.inputs, tensor]
    return tensor


def _add_task_loss(model: Model) -> gs.Variable:
    return add_node(
        model.graph, "SoftmaxCrossEntropyLoss", TASK, [model.logits, labels(model)], reduction="mean"
    )


def smooth_labels(model: Model, epsilon: float) -> None:
    """Let the task loss of a compression form expect ``1 - epsilon`` of the label, in place.

    The rest is spread over all classes, the label's included (Szegedy et al. 2016, arXiv 1512.00567,
    section 7): ``(1 - epsilon) * cross-entropy - epsilon * mean(log softmax)``, the mean over images and
    classes, as ``torch.nn.CrossEntropyLoss(label_smoothing=epsilon)``. Name, weight and place of the
    term stay. Called again, it replaces what it did; 0 gives the plain cross-entropy back.

    Args:
        epsilon: 0 to 1.

    Raises:
        TrainingError: ``epsilon`` is out of range, or the model has no task loss.
    """
    if not 0 <= epsilon <= 1:
        raise TrainingError(f"{epsilon:g} is out of range", where="--label-smoothing", fix="give 0 to 1")
    graph = model.graph
    task = graph.tensors().get(TASK)
    if task is None or not isinstance(task, gs.Variable):
        fix = "leave it out: the model learns without" if model.losses else "run `onnxcomp apply` on it first"
        raise TrainingError("the model has no task loss", where="--label-smoothing", fix=fix)
    _remove_task_loss(graph)
    loss = _add_smooth_loss(model, epsilon) if epsilon else _add_task_loss(model)
    loss.inputs[0].outputs = [task]
    graph.toposort()


def _remove_task_loss(graph: gs.Graph) -> None:
    nodes = [node for node in graph.nodes if node.name == TASK or node.name.startswith(f"{TASK}/")]
    for node in nodes:
        node.inputs.clear()
        node.outputs.clear()
    graph.nodes = [node for node in graph.nodes if not any(node is gone for gone in nodes)]


def _add_smooth_loss(model: Model, epsilon: float) -> gs.Variable:
    graph, logits = model.graph, model.logits
    operands = [logits, labels(model)]
    hard = add_node(graph, "SoftmaxCrossEntropyLoss", f"{TASK}/hard", operands, reduction="mean")
    # An output of its own: ONNX Runtime's gradient of the loss ignores what reads its log_prob.
    log = add_node(graph, "LogSoftmax", f"{TASK}/log_probability", [logits], axis=1)
    mean = add_node(graph, "ReduceMean", f"{TASK}/mean", [log], keepdims=0)
    shares = ((f"{TASK}/hard_share", hard, 1 - epsilon), (f"{TASK}/uniform_share", mean, -epsilon))
    terms = [add_node(graph, "Mul", name, [t, scalar(f"{name}.weight", w)]) for name, t, w in shares]
    return add_node(graph, "Add", TASK, terms)


def remove_losses(model: Model) -> None:
    """Back to a network of one image and one output: no loss, teacher or labels."""
    graph = model.graph
    graph.outputs = [model.logits]
    graph.inputs = [model.image]
    model.losses = {}
    graph.nodes = [node for node in graph.nodes if graphs.is_student(node)]
    graph.cleanup(remove_unused_graph_inputs=False)
