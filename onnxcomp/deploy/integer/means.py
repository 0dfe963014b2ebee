"""The mean over height and width as GlobalAveragePool, which has INT8 kernels where ReduceMean has none."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.deploy.integer.pairs import quantizers
from onnxcomp.passes.qat.placement.walk import is_average


def use_pooling(graph: gs.Graph) -> int:
    """Replace each ReduceMean over the axes 2 and 3 of four, in place; returns how many.

    Where it drops these axes a Flatten does, behind QuantizeLinear if that is all that reads the mean.
    """
    taken = set(graph.tensors())
    means = [node for node in graph.nodes if node.op == "ReduceMean" and is_average(node)]
    for node in means:
        keeps = int(node.attrs.get("keepdims", 1))
        node.op, node.attrs, node.inputs = "GlobalAveragePool", {}, node.inputs[:1]
        if not keeps:
            _flatten(graph, node, taken)
    graph.cleanup(remove_unused_graph_inputs=False).toposort()
    return len(means)


def _flatten(graph: gs.Graph, mean: gs.Node, taken: set[str]) -> None:
    """Let ``mean`` give (N, C, 1, 1)."""
    readers = quantizers(graph, mean.outputs[0])
    for node in readers or [mean]:
        output = node.outputs[0]
        name = graphs.free_name(f"{output.name}.maps", taken)
        maps = gs.Variable(name, output.dtype, _maps(output))
        node.outputs = [maps]
        graph.nodes.append(gs.Node("Flatten", f"{node.name}/flatten", {"axis": 1}, [maps], [output]))
    if readers:
        mean.outputs[0].shape = _maps(mean.outputs[0])


def _maps(tensor: gs.Tensor) -> list[int | str] | None:
    return None if tensor.shape is None else [*tensor.shape, 1, 1]
