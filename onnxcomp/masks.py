"""Masks of pruning, multiplied into the weights that they mask."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.errors import ModelError


def multiply_masks(graph: gs.Graph) -> tuple[int, int]:
    """Replace each ``prune/`` Mul by the masked weight; returns (masks, weights that became 0).

    Raises:
        ModelError: a mask is not of a constant; names the node.
    """
    nodes = [node for node in graph.nodes if graphs.mask_of(node) is not None]
    masked = 0
    for node in nodes:
        weight, mask = node.inputs
        if not isinstance(weight, gs.Constant):
            raise ModelError("masks a tensor that is not constant", where=node.name, fix="apply prune again")
        output = node.outputs[0]
        keep = mask.values != 0
        # Not just a product: 0 times a negative weight is -0, and 0 times infinity is not 0.
        values = np.zeros(keep.shape, np.float32)
        np.multiply(weight.values, mask.values, out=values, where=keep)
        masked += int(keep.size - np.count_nonzero(keep))
        node.inputs.clear()
        node.outputs.clear()
        # Someone else may read the weight unmasked; then the masked one keeps its own name.
        constant = gs.Constant(output.name if weight.outputs else weight.name, values)
        graphs.rewire(output, constant, list(output.outputs))
    graph.cleanup(remove_unused_graph_inputs=False)
    return len(nodes), masked
