"""Any ONNX file as lint sees it: read without the checks of :mod:`onnxcomp.intake`, constants in one form."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxcomp import intake, shape_inference
from onnxcomp.deploy.lint.arity import check_arity
from onnxcomp.errors import ModelError
from onnxcomp.skeleton import Arrays, fill, split

STANDARD = ("", "ai.onnx", None)
MOVES = (
    *("Concat", "Dropout", "Flatten", "Identity", "MaxPool"),
    *("Reshape", "Squeeze", "Transpose", "Unsqueeze"),
)
"""Operators that compute nothing: TensorRT moves Q and DQ through them (Developer Guide 8.5, 7.4.2)."""
_CONSTANTS = {
    "value_float": np.float32,
    "value_floats": np.float32,
    "value_int": np.int64,
    "value_ints": np.int64,
}


@dataclass(frozen=True)
class Network:
    """A file.

    Attributes:
        path: where it was read.
        graph: onnx-graphsurgeon's view of it; Constant nodes are constants.
        opset: of the standard operators.
        no_shapes: why no more shapes are known than the file itself has, or "".
    """

    path: Path
    graph: gs.Graph
    opset: int
    no_shapes: str = ""

    def everywhere(self) -> Iterator[gs.Node]:
        """Every node, those in subgraphs and in the functions of the model included."""
        graphs = [self.graph, *self.graph.subgraphs(recursive=True), *self.graph.functions]
        for graph in graphs:
            yield from graph.nodes

    def functions(self) -> set[tuple[str, str]]:
        """Domain and name of each function that the file defines."""
        return {(function.domain or "", function.name) for function in self.graph.functions}

    def is_output(self, tensor: gs.Tensor) -> bool:
        return any(tensor is output for output in self.graph.outputs)


def read(path: Path) -> Network:
    """Read the ONNX file ``path``, whatever network it holds.

    Raises:
        ModelError: there is no such file, it is not ONNX, its data is missing, its nodes form a cycle or
            lack inputs.
    """
    proto = intake.read(path)
    check_arity(proto, path)
    opset = next((e.version for e in proto.opset_import if e.domain in STANDARD), 0)
    try:
        light, arrays, reason = *_inferred(proto), ""
    except Exception as error:  # noqa: BLE001  onnx raises its own, ValueError, TypeError, RuntimeError
        light, arrays, reason = proto, {}, _line(error)
    try:
        with quiet():
            graph = gs.import_onnx(light).toposort(recurse_subgraphs=False, mode="nodes")
    except Exception as error:  # onnx-graphsurgeon raises its own, and what a broken message makes of it
        raise ModelError(f"cannot be read: {_line(error)}", where=str(path), fix="export it again") from error
    fill(graph, arrays)
    for node in graph.nodes:
        _make_constant(graph, node)
    graph.nodes = [node for node in graph.nodes if node.outputs or node.op != "Constant"]
    return Network(path, graph, opset, reason)


def _inferred(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, Arrays]:
    light, arrays = split(proto)
    return shape_inference.infer_shapes(light), arrays


@contextmanager
def quiet() -> Iterator[None]:
    """Keep onnx-graphsurgeon from printing its warnings to stdout."""
    from onnx_graphsurgeon.logger import G_LOGGER

    severity, G_LOGGER.severity = G_LOGGER.severity, G_LOGGER.CRITICAL
    try:
        yield
    finally:
        G_LOGGER.severity = severity


def _make_constant(graph: gs.Graph, node: gs.Node) -> None:
    """Put a constant in place of a Constant node, if nothing outside the graph reads it."""
    if node.op != "Constant" or not node.outputs or node.outputs[0] in graph.outputs:
        return
    values = _values(node)
    if values is not None:
        output = node.outputs[0]
        node.outputs.clear()
        output.to_constant(values)


def _values(node: gs.Node) -> NDArray[np.generic] | gs.LazyValues | None:
    if "value" in node.attrs:
        tensor = node.attrs["value"]
        return tensor._values if isinstance(tensor, gs.Constant) else None
    for name, dtype in _CONSTANTS.items():
        if name in node.attrs:
            return np.array(node.attrs[name], dtype)
    return None


def _line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def name_of(node: gs.Node) -> str:
    """The node's name, or where it has none that of its first output."""
    return str(node.name or next((t.name for t in node.outputs if t.name), node.op))


def producer(tensor: gs.Tensor) -> gs.Node | None:
    """The node that computes ``tensor``; None for an input or a constant."""
    return tensor.inputs[0] if tensor.inputs else None


def constant(tensor: gs.Tensor) -> gs.Constant | None:
    """The constant that ``tensor`` is, also behind Identity."""
    while not isinstance(tensor, gs.Constant):
        node = producer(tensor)
        if node is None or node.op != "Identity":
            return None
        tensor = node.inputs[0]
    return tensor


def present(node: gs.Node, index: int) -> gs.Tensor | None:
    """Input number ``index`` of ``node``, or None where it is left out."""
    tensor = node.inputs[index] if index < len(node.inputs) else None
    return None if tensor is None or tensor.is_empty() else tensor


def values(tensor: gs.Tensor | None) -> NDArray[np.generic] | None:
    """The values of a constant of a type that NumPy has."""
    found = constant(tensor) if tensor is not None else None
    return None if found is None or isinstance(found.dtype, int) else found.values


def dtype(tensor: gs.Tensor | None) -> str:
    """The name of its type, as in ``float32`` or ``float8e4m3fn``; "" where it is not known."""
    if tensor is None or tensor.dtype is None:
        return ""
    if isinstance(tensor.dtype, int):
        return str(onnx.TensorProto.DataType.Name(tensor.dtype)).lower()
    return str(np.dtype(tensor.dtype).name)


def sizes(tensor: gs.Tensor) -> tuple[int | None, ...] | None:
    """Its shape, None for each size that is not fixed; None where the rank is not known."""
    if tensor.shape is None:
        return None
    return tuple(size if isinstance(size, int) and size >= 0 else None for size in tensor.shape)
