"""Bring a graph to a newer opset without changing what it answers.

The counterpart of :mod:`onnxcomp.deploy.opset`. ``onnx.version_converter`` rewrites the operators (its
adapters: onnx/docs/VersionConverter.md); names, order and values of everything that was there stay.
"""

from __future__ import annotations

import onnx
import onnx_graphsurgeon as gs
from onnx import version_converter

from onnxcomp import graphs, shape_inference
from onnxcomp.errors import ModelError
from onnxcomp.skeleton import outline
from onnxcomp.tidy import tidy

IR_VERSION = 8  # any that knows the opsets of onnxcomp; the message lives here only


def raise_opset(graph: gs.Graph, opset: int, *, where: str) -> bool:
    """Bring ``graph`` to at least ``opset``, in place; returns whether it was older.

    The graph's nodes and tensors are new objects afterwards, under their old names and with their old
    values; constants share theirs as before.

    Raises:
        ModelError: an operator has no known equal in ``opset``, or stands in a subgraph; names both opsets.
    """
    if graph.opset >= opset:
        return False
    _check_subgraphs(graph, opset, where)
    constants = {n: t for n, t in graph.tensors().items() if isinstance(t, gs.Constant)}
    raised = gs.import_onnx(_converted(graph, opset, where))
    for tensor in raised.tensors().values():
        if tensor.name in constants:
            tensor.to_constant(constants[tensor.name].values)
    _tidy_all(raised, where)
    inputs, outputs = ({t.name: t for t in ends} for ends in (raised.inputs, raised.outputs))
    graph.inputs = [inputs[tensor.name] for tensor in graph.inputs]
    graph.outputs = [outputs[tensor.name] for tensor in graph.outputs]
    graph.nodes, graph.opset = raised.nodes, opset
    graph.import_domains = [onnx.helper.make_opsetid("", opset)]
    return True


def _check_subgraphs(graph: gs.Graph, opset: int, where: str) -> None:
    for node in graph.nodes:
        if any(isinstance(value, gs.Graph) for value in node.attrs.values()):
            raise _refusal(graph.opset, opset, where, f"node {node.name} ({node.op}) holds a graph")


def _converted(graph: gs.Graph, opset: int, where: str) -> onnx.ModelProto:
    """The graph at ``opset``, its large constants as inputs, with the types and shapes of its tensors."""
    light = outline(graph)
    light.import_domains = None
    proto = gs.export_onnx(light, do_type_check=False)
    proto.ir_version = IR_VERSION
    try:
        converted = version_converter.convert_version(proto, opset)
        inferred: onnx.ModelProto = shape_inference.infer_shapes(converted, check_type=True, strict_mode=True)
    except Exception as error:  # the converter raises RuntimeError and its own ConvertError
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no reason given")
        raise _refusal(graph.opset, opset, where, reason) from error
    return inferred


def _refusal(old: int, new: int, where: str, reason: str) -> ModelError:
    return ModelError(
        f"cannot be brought from opset {old} to opset {new} ({reason})",
        where=where,
        fix=f"export it with opset {new}, or the other network with opset {old}",
    )


def _tidy_all(graph: gs.Graph, where: str) -> None:
    """Bring what the converter wrote into canonical shape, keeping what no output needs (a loss, say)."""
    taken = {node.name for node in graph.nodes}
    for node in graph.nodes:
        if not node.name:
            node.name = graphs.free_name(node.outputs[0].name, taken)
    outputs = list(graph.outputs)
    ends = [t for node in graph.nodes for t in node.outputs if not t.outputs and t not in outputs]
    graph.outputs = [*outputs, *ends]
    tidy(graph, where)
    graph.outputs = outputs
