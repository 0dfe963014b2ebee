"""What holds of every network that onnxcomp writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import onnx

from onnxcomp.errors import ModelError
from onnxcomp.model import Model, to_proto
from onnxcomp.skeleton import outline


def verify(model: Model, *, where: str) -> None:
    """Check names, roles and the ONNX specification.

    Raises:
        ModelError: a name is not unique, a role names no constant, or ``onnx.checker`` refuses.
    """
    check_names(model, where=where)
    constants = model.constants()
    lost = [name for name in model.roles if name not in constants]
    if lost:
        raise ModelError(f"{lost[0]} has a role but is no constant", where=where, fix="report this")
    try:
        outlined = replace(model, graph=outline(model.graph))
        onnx.checker.check_model(to_proto(outlined), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"onnx.checker refuses it: {reason}", where=where, fix="report this") from error


def check_names(model: Model, *, where: str) -> None:
    """Check that no two nodes and no two tensors have the same name.

    A file knows tensors by name alone: of two initializers of one name only one would be written.

    Raises:
        ModelError: names the first that comes twice.
    """
    graph = model.graph
    ends = (tensor for node in graph.nodes for tensor in (*node.inputs, *node.outputs))
    tensors = {id(tensor): tensor.name for tensor in (*graph.inputs, *graph.outputs, *ends) if tensor.name}
    nodes = [node.name for node in graph.nodes]
    for kind, names in (("tensor", tensors.values()), ("node", nodes)):
        name, count = Counter(names).most_common(1)[0]
        if count > 1:
            raise ModelError(
                f"two {kind}s are called {name}", where=where, fix="rename one of them in the model"
            )
