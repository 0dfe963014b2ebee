"""Small graphs with UINT8 pairs, and what ONNX Runtime makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxcomp import extras
from onnxcomp.runtime import EXACT


def pair(
    graph: gs.Graph, source: gs.Tensor, scale: float, zero: int, *, parameters: Sequence[gs.Constant] = ()
) -> gs.Variable:
    """``source -> Q -> DQ`` in UINT8; ``parameters`` are another pair's, to share."""
    name = source.name
    constants = parameters or (
        gs.Constant(f"{name}.scale", np.array(scale, np.float32)),
        gs.Constant(f"{name}.zero_point", np.array(zero, np.uint8)),
    )
    quantized = gs.Variable(f"{name}.quantized", np.uint8, source.shape)
    dequantized = gs.Variable(f"{name}.dequantized", np.float32, source.shape)
    graph.nodes += [
        gs.Node("QuantizeLinear", f"qat/{name}/quantize", {}, [source, *constants], [quantized]),
        gs.Node("DequantizeLinear", f"qat/{name}/dequantize", {}, [quantized, *constants], [dequantized]),
    ]
    return dequantized


def integers(graph: gs.Graph, name: str, values: np.ndarray, scale: np.ndarray, axis: int = 0) -> gs.Variable:
    """An INT8 constant -> DequantizeLinear along ``axis``."""
    scale = np.asarray(scale, np.float32)
    constants = [
        gs.Constant(f"{name}.quantized", values.astype(np.int8)),
        gs.Constant(f"{name}.scale", scale),
        gs.Constant(f"{name}.zero_point", np.zeros(scale.shape, np.int8)),
    ]
    output = gs.Variable(f"{name}.dequantized", np.float32, values.shape)
    attrs = {"axis": axis} if scale.ndim else {}
    graph.nodes.append(gs.Node("DequantizeLinear", f"qat/{name}/dequantize", attrs, constants, [output]))
    return output


def start(*shape: int) -> tuple[gs.Graph, gs.Variable]:
    """An empty graph and its input ``x``, float32 of ``shape``."""
    x = gs.Variable("x", np.float32, shape)
    return gs.Graph([], [x], [], opset=17), x


def node(
    graph: gs.Graph, op: str, inputs: Sequence[gs.Tensor], shape: Sequence[int], name: str = "y", **attrs: Any
) -> gs.Variable:
    """Append a node; returns its output ``name`` of ``shape``."""
    output = gs.Variable(name, np.float32, shape)
    graph.nodes.append(gs.Node(op, f"{name}.node", attrs, list(inputs), [output]))
    return output


def ops(graph: gs.Graph) -> dict[str, int]:
    return dict(Counter(one.op for one in graph.nodes))


def run(graph: gs.Graph, x: np.ndarray, *, integer: bool = False) -> np.ndarray:
    """The output for ``x``, with pairs that round in float32, or in integer kernels."""
    return _session(_bytes(graph), integer=integer).run(None, {"x": x})[0]


def fused(data: bytes | gs.Graph, folder: Path) -> list[onnx.NodeProto]:
    """The nodes that ONNX Runtime runs."""
    path = folder / "optimized.onnx"
    _session(data if isinstance(data, bytes) else _bytes(data), integer=True, save=path)
    return list(onnx.load(path).graph.node)


def _bytes(graph: gs.Graph) -> bytes:
    return gs.export_onnx(graph, do_type_check=False, ir_version=8).SerializeToString()


def _session(data: bytes, *, integer: bool, save: Path | None = None) -> Any:
    runtime = extras.onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry(*EXACT)
    if not integer:
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if save is not None:
        options.optimized_model_filepath = str(save)
    return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
