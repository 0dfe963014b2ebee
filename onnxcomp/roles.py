"""Which constants training moves: parameters by gradient, statistics by the batches."""

from __future__ import annotations

import numpy as np

from onnxcomp import graphs
from onnxcomp.model import Model, Role

BATCH_NORM = {1: Role.TRAINABLE, 2: Role.TRAINABLE, 3: Role.STATISTIC, 4: Role.STATISTIC}
PARAMETER_INPUTS = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "MatMul": (0, 1),
    "LayerNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "GroupNormalization": (1, 2),
    "PRelu": (1,),
    "Einsum": (0, 1),
    "Expand": (0,),  # a class token
    "Concat": (0, 1),  # the same, at a fixed batch of 1
    "Add": (0, 1),
    "Mul": (0, 1),
}


def parameters(model: Model) -> dict[str, Role]:
    """Roles of the weights, biases, scales and running statistics of student and connectors, by name.

    Constants of Add and Mul count when they have more than one element (a bias or a scale per
    channel): a single number is part of the architecture. What is added to or multiplied with the
    image itself is its normalisation and stays.
    """
    roles: dict[str, Role] = {}
    for node in model.graph.nodes:
        if not graphs.is_trained(node) or graphs.mask_of(node) is not None:
            continue  # a masked weight is found behind the node that computes with it
        if node.op == "BatchNormalization":
            roles.update({node.inputs[index].name: role for index, role in BATCH_NORM.items()})
            continue
        elementwise = node.op in ("Add", "Mul")
        if elementwise and any(tensor is model.image for tensor in node.inputs):
            continue
        for index in PARAMETER_INPUTS.get(node.op, ()):
            tensor = graphs.constant_behind(node.inputs[index]) if index < len(node.inputs) else None
            if tensor is None or tensor.dtype != np.float32:
                continue
            if not elementwise or np.prod(tensor.shape) > 1:
                roles[tensor.name] = Role.TRAINABLE
    return roles
