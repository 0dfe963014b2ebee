"""AveragePool over windows that tile the image becomes Reshape and ReduceMean, which are faster to
differentiate. Other AveragePool nodes stay: their gradient is right once the batch is fixed."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.training.lowering import edit
from onnxcomp.training.lowering.base import Lowering


def tiles(node: gs.Node) -> bool:
    """Kernel equals stride, no padding or dilation, and the windows cover the image exactly."""
    kernel = node.attrs["kernel_shape"]
    shape = node.inputs[0].shape
    return bool(
        list(node.attrs.get("strides", [1] * len(kernel))) == list(kernel)
        and not any(node.attrs.get("pads", []))
        and all(d == 1 for d in node.attrs.get("dilations", []))
        and node.attrs.get("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and shape is not None
        and len(shape) == len(kernel) + 2 == 4
        and all(isinstance(size, int) for size in shape)
        and all(size % k == 0 for size, k in zip(shape[2:], kernel, strict=True))
    )


def lower_average_pool(graph: gs.Graph) -> int:
    """Replace the student's AveragePool nodes that tile their image; returns how many."""
    nodes = [n for n in graph.nodes if n.op == "AveragePool" and graphs.is_trained(n) and tiles(n)]
    for node in nodes:
        source = node.inputs[0]
        batch, channels, height, width = source.shape
        rows, columns = node.attrs["kernel_shape"]
        output = edit.take_output(node)
        shape = [batch, channels, height // rows, rows, width // columns, columns]
        target = edit.integers(f"{output.name}.windows_shape", shape)
        windows = edit.variable(f"{output.name}.windows", shape=shape)
        edit.insert(graph, "Reshape", [source, target], windows)
        edit.reduce_mean(graph, windows, output, axes=(3, 5), keepdims=False)
    if nodes:
        edit.settle(graph)
    return len(nodes)


LOWERING = Lowering(
    "average pool",
    "AveragePool whose windows tile the image; others keep their gradient, right for a fixed batch",
    lambda training: lower_average_pool(training.graph),
)
