"""One canonical shape for networks as exporters write them, so that passes see one form.

1. Every node has a unique name, and no empty inputs at its end.
2. Constant nodes become initializers; the values of all initializers are read.
3. An Identity or inference-mode Dropout disappears. Where it renames an initializer (exporters share
   equal-valued parameters that way) the initializer is copied, because they are separate parameters.
4. Each BatchNormalization owns its parameters and running statistics, and has one output.
5. Nodes that reach no output disappear; what is left is in topological order.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.errors import ModelError

PASS_THROUGH = ("Identity", "Dropout")
# The attributes of Constant, beside `value`, and the dtype that the operator gives each.
SCALARS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}
PARAMETERS = {1: "weight", 2: "bias", 3: "running_mean", 4: "running_var"}  # by BatchNormalization's input


def tidy(graph: gs.Graph, where: str = "model") -> None:
    """Bring ``graph`` into canonical shape, in place.

    Raises:
        ModelError: BatchNormalization or Dropout in training mode, or an initializer whose data is
            not of its shape.
    """
    _name_nodes(graph)
    _constants_to_initializers(graph)
    _read_values(graph, where)
    for node in graph.nodes:
        if node.op in PASS_THROUGH:
            _remove_pass_through(graph, node, where)
    taken = set(graph.tensors())
    for node in graph.nodes:
        if node.op == "BatchNormalization":
            _own_parameters(node, taken, where)
    graph.cleanup(remove_unused_graph_inputs=False).toposort()


def _name_nodes(graph: gs.Graph) -> None:
    taken: set[str] = set()
    for node in graph.nodes:
        outputs = [tensor.name for tensor in node.outputs if tensor.name]
        node.name = graphs.free_name(node.name or next(iter(outputs), node.op), taken)
        while node.inputs and node.inputs[-1].is_empty():
            node.inputs.pop()


def _constants_to_initializers(graph: gs.Graph) -> None:
    for node in graph.nodes:
        if node.op != "Constant" or node.outputs[0] in graph.outputs:
            continue
        values = _constant_value(node)
        if values is not None:
            output = node.outputs[0]
            node.outputs.clear()
            _redirect(output, gs.Constant(output.name, values))


def _constant_value(node: gs.Node) -> np.ndarray | gs.LazyValues | None:
    if "value" in node.attrs:
        return node.attrs["value"]._values
    for attribute, dtype in SCALARS.items():
        if attribute in node.attrs:
            return np.array(node.attrs[attribute], dtype)
    return None  # strings, or a sparse tensor


def _read_values(graph: gs.Graph, where: str) -> None:
    """Read what onnx-graphsurgeon leaves in the file's message until it is asked for.

    A damaged tensor shows now. And copies of a graph would share the message's tensors, whose name
    the exporter changes: two constants of one origin would come out under one name.
    """
    for tensor in graph.tensors().values():
        if not isinstance(tensor, gs.Constant) or isinstance(tensor.dtype, int):
            continue  # an int stands for a type that numpy lacks; reading it would change it
        try:
            tensor.values  # noqa: B018  reads the data
        except Exception as error:  # onnx raises ValueError, TypeError, IndexError and its own
            raise ModelError(
                f"the data of tensor {tensor.name} is not of its shape {tuple(tensor.shape)}",
                where=where,
                fix="export the model again",
            ) from error


def _remove_pass_through(graph: gs.Graph, node: gs.Node, where: str) -> None:
    if node.op == "Dropout":
        _check_dropout(node, where)
    source, output = node.inputs[0], node.outputs[0]
    if any(tensor.outputs or tensor in graph.outputs for tensor in node.outputs[1:]):
        return  # somebody reads the mask
    if output in graph.outputs and (not source.inputs or source in graph.outputs):
        return  # an output that is an input, a constant or another output
    if isinstance(source, gs.Constant):
        source = gs.Constant(output.name, source.values.copy())
    node.outputs.clear()
    if output in graph.outputs:
        # The graph's output keeps its name: the producer takes it over.
        producer = source.inputs[0]
        producer.outputs[producer.outputs.index(source)] = output
        _redirect(source, output)
    else:
        _redirect(output, source)
    node.inputs.clear()


def _check_dropout(node: gs.Node, where: str) -> None:
    mode = node.inputs[2] if len(node.inputs) > 2 else None
    if mode is None or mode.is_empty():
        return
    if not isinstance(mode, gs.Constant) or mode.values.any():
        raise _training_mode(node, where)


def _own_parameters(node: gs.Node, taken: set[str], where: str) -> None:
    # Before opset 14, further outputs are what says training mode.
    if node.attrs.get("training_mode", 0) or any(not tensor.is_empty() for tensor in node.outputs[1:]):
        raise _training_mode(node, where)
    for extra in list(node.outputs)[1:]:
        node.outputs.remove(extra)
    for index, parameter in PARAMETERS.items():
        tensor = node.inputs[index]
        if isinstance(tensor, gs.Constant) and len(tensor.outputs) > 1:
            name = graphs.free_name(f"{node.name}.{parameter}", taken)
            node.inputs[index] = gs.Constant(name, tensor.values.copy())


def _training_mode(node: gs.Node, where: str) -> ModelError:
    return ModelError(
        f"node {node.name} is {node.op} in training mode", where=where, fix="export the model in eval mode"
    )


def _redirect(old: gs.Tensor, new: gs.Tensor) -> None:
    """Let every reader of ``old`` read ``new``."""
    for consumer in list(old.outputs):
        for index, tensor in enumerate(consumer.inputs):
            if tensor is old:
                consumer.inputs[index] = new
