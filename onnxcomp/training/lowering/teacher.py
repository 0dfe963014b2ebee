"""The teacher leaves the training graph: what it computes becomes inputs.

It runs in an inference session of its own, or not at all where its outputs are known. It adds no backward
node, its weights are constants there, and ONNX Runtime may fold, fuse and lay them out as for any inference.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.graphs import TEACHER_PREFIX
from onnxcomp.training.lowering import edit


def cut(graph: gs.Graph, image: str) -> gs.Graph | None:
    """Take the nodes called ``teacher/...`` out of ``graph``, in place.

    Args:
        image: name of the input that the teacher reads.

    Returns:
        A graph from the image to all that other nodes read of the teacher, each a further input of ``graph``
        now; None if nothing is read of one.
    """
    nodes = [node for node in graph.nodes if node.name.startswith(TEACHER_PREFIX)]
    inside = {id(node) for node in nodes}
    frontier = []
    for tensor in [tensor for node in nodes for tensor in node.outputs]:
        readers = [node for node in tensor.outputs if id(node) not in inside]
        if readers:
            known = gs.Variable(tensor.name, tensor.dtype, tensor.shape)
            graphs.rewire(tensor, known, readers)
            graph.inputs = [*graph.inputs, known]
            frontier.append(tensor)
    given = next(tensor for tensor in graph.inputs if tensor.name == image)
    taken = gs.Variable(given.name, given.dtype, given.shape)
    graphs.rewire(given, taken, nodes)
    graph.nodes = [node for node in graph.nodes if id(node) not in inside]
    if not frontier:
        return None
    teacher = gs.Graph(nodes, [taken], frontier, opset=graph.opset, import_domains=graph.import_domains)
    edit.drop_unread(teacher)
    return teacher
