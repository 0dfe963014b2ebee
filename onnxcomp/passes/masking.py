"""A mask on a weight, as the compression form has it: ``Mul(weight, mask)``."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.model import Model, Role


def insert_mask(model: Model, tensor: gs.Constant) -> None:
    """Let everything that reads ``tensor`` read its product with a mask of ones; not sorted yet."""
    readers = list(tensor.outputs)
    mask = gs.Constant(f"{tensor.name}.mask", np.ones(tensor.shape, np.float32))
    masked = gs.Variable(f"{tensor.name}.masked", np.float32, tensor.shape)
    node = gs.Node("Mul", f"{graphs.PRUNE_PREFIX}{tensor.name}", inputs=[tensor, mask], outputs=[masked])
    graphs.rewire(tensor, masked, readers)
    model.graph.nodes.append(node)
    model.roles[mask.name] = Role.MASK
