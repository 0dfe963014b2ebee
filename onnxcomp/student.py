"""The part of a network that a deployed classifier runs: image in, logits out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onnxcomp.errors import ModelError
from onnxcomp.model import Form, Model


def subgraph(model: Model, outputs: Sequence[str]) -> Model:
    """A copy of ``model`` that computes only the tensors named ``outputs``, in that order.

    Inputs that they do not need (``labels``, say) are gone. Constant values are shared with ``model``.

    Raises:
        ModelError: there is no such tensor.
    """
    graph = model.graph.copy()
    tensors = graph.tensors()
    for name in outputs:
        if name not in tensors:
            raise ModelError(f"there is no tensor {name}", where=graph.name, fix="see onnxcomp inspect")
    graph.outputs = [tensors[name] for name in outputs]
    graph.cleanup(remove_unused_graph_inputs=True)
    return replace(model, graph=graph)


def student(model: Model) -> Model:
    """A copy of ``model`` without teacher, losses and labels; masks and Q/DQ stay.

    A compression form comes back as an inference form, other forms keep theirs.
    """
    cut = subgraph(model, [model.logits.name])
    if model.form is Form.COMPRESSION:
        cut.form = Form.INFERENCE
    cut.roles, cut.losses, cut.sparsities = {}, {}, {}
    return cut
