"""One canonical shape for networks as exporters write them, so that passes see one form.

1. Constant nodes become initializers.
2. An Identity or inference-mode Dropout disappears. Where it renames an initializer (exporters share
   equal-valued parameters that way) the initializer is copied, because they are separate parameters.
3. Each BatchNormalization owns its running statistics and has one output.
4. Nodes that reach no output disappear; every node has a unique name.
"""

from __future__ import annotations

import onnx_graphsurgeon as gs

from onnxcomp.errors import ModelError

PASS_THROUGH = ("Identity", "Dropout")


def tidy(graph: gs.Graph, where: str = "model") -> None:
    """Bring ``graph`` into canonical shape, in place.

    Raises:
        ModelError: BatchNormalization in training mode.
    """
    _constants_to_initializers(graph)
    _remove_pass_through(graph)
    for node in graph.nodes:
        if node.op == "BatchNormalization":
            _own_statistics(node, where)
    graph.cleanup(remove_unused_graph_inputs=False).toposort()
    _name_nodes(graph)


def _constants_to_initializers(graph: gs.Graph) -> None:
    for node in graph.nodes:
        if node.op == "Constant" and "value" in node.attrs:
            output = node.outputs[0]
            values = node.attrs["value"].values
            node.outputs.clear()
            constant = gs.Constant(output.name, values)
            _redirect(graph, output, constant)


def _remove_pass_through(graph: gs.Graph) -> None:
    for node in graph.nodes:
        if node.op not in PASS_THROUGH:
            continue
        source, output = node.inputs[0], node.outputs[0]
        if output in graph.outputs and (isinstance(source, gs.Constant) or not source.inputs):
            continue
        if isinstance(source, gs.Constant):
            source = gs.Constant(output.name, source.values.copy())
        node.outputs.clear()
        if output in graph.outputs:
            # The graph's output keeps its name: the producer takes it over.
            producer = source.inputs[0]
            producer.outputs[producer.outputs.index(source)] = output
            for consumer in list(source.outputs):
                _replace_input(consumer, source, output)
        else:
            _redirect(graph, output, source)
        node.inputs.clear()


def _own_statistics(node: gs.Node, where: str) -> None:
    if node.attrs.get("training_mode", 0):
        raise ModelError(
            f"node {node.name} is BatchNormalization in training mode",
            where=where,
            fix="export the model in eval mode",
        )
    for extra in list(node.outputs)[1:]:
        node.outputs.remove(extra)
    for index in (1, 2, 3, 4):
        tensor = node.inputs[index]
        if isinstance(tensor, gs.Constant) and len(tensor.outputs) > 1:
            node.inputs[index] = gs.Constant(f"{node.name}.{tensor.name}", tensor.values.copy())


def _name_nodes(graph: gs.Graph) -> None:
    seen: set[str] = set()
    for node in graph.nodes:
        name = node.name or node.outputs[0].name
        while name in seen:
            name += "_"
        node.name = name
        seen.add(name)


def _redirect(graph: gs.Graph, old: gs.Tensor, new: gs.Tensor) -> None:
    for consumer in list(old.outputs):
        _replace_input(consumer, old, new)


def _replace_input(node: gs.Node, old: gs.Tensor, new: gs.Tensor) -> None:
    for index, tensor in enumerate(node.inputs):
        if tensor is old:
            node.inputs[index] = new
