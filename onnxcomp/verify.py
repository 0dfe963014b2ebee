"""What holds of every network that onnxcomp writes."""

from __future__ import annotations

from collections import Counter

import onnx

from onnxcomp.errors import ModelError
from onnxcomp.model import Model, to_proto


def verify(model: Model, *, where: str) -> None:
    """Check names, roles and the ONNX specification.

    Raises:
        ModelError: a name is not unique, a role names no constant, or ``onnx.checker`` refuses.
    """
    names = Counter(output.name for node in model.graph.nodes for output in node.outputs if output.name)
    nodes = Counter(node.name for node in model.graph.nodes)
    for kind, counter in (("tensor", names), ("node", nodes)):
        twice = [name for name, count in counter.items() if count > 1]
        if twice:
            raise ModelError(
                f"two {kind}s are called {twice[0]}", where=where, fix="rename one of them in the model"
            )
    constants = model.constants()
    lost = [name for name in model.roles if name not in constants]
    if lost:
        raise ModelError(f"{lost[0]} has a role but is no constant", where=where, fix="report this")
    try:
        onnx.checker.check_model(to_proto(model), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(f"onnx.checker refuses it: {reason}", where=where, fix="report this") from error
