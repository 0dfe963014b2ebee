"""What ONNX Runtime computes in float on a CPU although it is quantised."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.deploy.integer.kernels import kernels
from onnxcomp.deploy.lint import pairs
from onnxcomp.deploy.lint.network import Network, constant, dtype, name_of, present
from onnxcomp.deploy.lint.report import Where
from onnxcomp.deploy.lint.rule import Hit, Rule, Scope
from onnxcomp.deploy.targets import Target

SCOPE = Scope("ort-cpu")


def _float_kernels(network: Network, target: Target) -> Iterator[Hit]:
    graph, names = _complete(network.graph)
    by_name = {node.name: node for node in graph.nodes}
    for name, op, reason in kernels(graph).floats:
        node = by_name[name]
        around = [pairs.dequantizer(tensor) is not None for tensor in node.inputs]
        around += [reader.op == pairs.QUANTIZE for tensor in node.outputs for reader in tensor.outputs]
        if any(around):
            yield Hit(names[name], f"{op} in float: {reason}")


def coverage(network: Network) -> Where:
    """Which operators ONNX Runtime computes in integers."""
    graph, names = _complete(network.graph)
    found = kernels(graph)
    return Where(
        found.integer, found.integer + len(found.floats), tuple(names[one[0]] for one in found.floats)
    )


def _complete(graph: gs.Graph) -> tuple[gs.Graph, dict[str, str]]:
    """A copy as finalized networks are, and what its nodes were called.

    Each node has a name of its own; each Q and DQ has three inputs, of which two are initializers: pairs
    without are gone, as for ONNX Runtime's fusions; tensors have a type that NumPy has, or none.
    """
    graph, names = graph.copy(), {}
    for number, node in enumerate(graph.nodes):
        names[str(number)] = name_of(node)
        node.name = str(number)
        if node.op in (pairs.QUANTIZE, pairs.DEQUANTIZE) and not _with_constants(node):
            node.op = "Identity"
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Variable) and isinstance(tensor.dtype, int):
            tensor.dtype = None
    return graph, names


def _with_constants(node: gs.Node) -> bool:
    """Make initializers of scale and zero point; False where they are computed."""
    scale, zero = (present(node, index) for index in (1, 2))
    stored = [constant(tensor) for tensor in (scale, zero) if tensor is not None]
    found = [tensor for tensor in stored if tensor is not None]
    if not found or len(found) < len(stored):
        return False
    if zero is None:
        found.append(gs.Constant(f"{node.name}.zero_point", np.zeros(tuple(found[0].shape), np.uint8)))
    node.inputs = [node.inputs[0], *found]
    return True


def _computed(network: Network, target: Target) -> Iterator[Hit]:
    for node in pairs.pair_nodes(network):
        for index, what in ((1, "scale"), (2, "zero point")):
            tensor = present(node, index)
            if tensor is not None and constant(tensor) is None:
                yield Hit(name_of(node), f"its {what} is not a constant")


def _signed(network: Network, target: Target) -> Iterator[Hit]:
    for node in pairs.pair_nodes(network):
        signed = node.op == pairs.QUANTIZE and dtype(present(node, 2)) == "int8"
        if signed and not pairs.is_constant(pairs.source(node.inputs[0])):
            yield Hit(name_of(node), "its activation is INT8")


RULES = (
    Rule(
        "float-kernel",
        "warning",
        SCOPE,
        "ONNX Runtime has integer kernels for some operators, and takes them where pairs stand on all sides"
        " (qdq_selectors.cc in onnxruntime/core/optimizer/qdq_transformer)",
        "quantise for it: onnxcomp apply qat --target ort-cpu, then finalize --target ort-cpu",
        _float_kernels,
    ),
    Rule(
        "signed-activation",
        "warning",
        SCOPE,
        "x86 kernels multiply unsigned activations with signed weights; with signed ones DenseNet201 was 1.7"
        " times slower than in float32",
        "finalize for ort-cpu, or quantise activations to UINT8",
        _signed,
    ),
    Rule(
        "computed-scale",
        "warning",
        SCOPE,
        "ONNX Runtime fuses pairs of constant scales and zero points only (qdq_util.cc, IsQDQPairSupported)",
        "fold constants: polygraphy surgeon sanitize --fold-constants",
        _computed,
    ),
)
