"""How big a network is: its file, its file compressed, and the parameters it stores."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_graphsurgeon as gs

from onnxcomp import graphs, runtime
from onnxcomp.model import Model
from onnxcomp.student import student

BLOCK = 1 << 22
# Inputs that hold no parameter of the network: running statistics, scales and zero points, bounds.
NOT_PARAMETERS = {
    "BatchNormalization": (3, 4),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "Resize": (1, 2),
    "Clip": (1, 2),
    "Pad": (2,),
}


@dataclass(frozen=True)
class Parameters:
    """What the student stores; shared tensors count once.

    Attributes:
        total: weights, biases and other constants of rank >= 1, without BatchNormalization's running
            statistics, masks, scales and zero points.
        nonzero: those that are not 0 once masks are applied.
        nonzero_int8: those that are not 0 once masks and INT8 rounding of quantised weights are applied.
    """

    total: int
    nonzero: int
    nonzero_int8: int


@dataclass(frozen=True)
class FileSize:
    """Bytes.

    Attributes:
        raw: the file, with its external data where it keeps any.
        deflated: the same through zlib level 6, about what a zip or an app package ships.
    """

    raw: int
    deflated: int


def file_size(path: Path) -> FileSize:
    """Measure an ONNX file and the external data files that it names."""
    return FileSize(stored_bytes(path), sum(map(_deflated, _files(path))))


def stored_bytes(path: Path) -> int:
    """Size of an ONNX file and the external data files that it names; deflating it takes far longer."""
    return sum(item.stat().st_size for item in _files(path))


def _files(path: Path) -> list[Path]:
    """An ONNX file and the external data files that it names."""
    proto = onnx.load_model(path, load_external_data=False)
    locations = {
        entry.value
        for tensor in proto.graph.initializer
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return [path, *(path.parent / location for location in sorted(locations))]


def _deflated(path: Path) -> int:
    # In blocks, each by itself, as pigz does: zlib lets go of the interpreter, so cores share the work.
    # Against one stream that costs less than 0.1 %.
    def block(start: int) -> int:
        with path.open("rb") as file:
            file.seek(start)
            return len(zlib.compress(file.read(BLOCK), 6))

    with ThreadPoolExecutor(runtime.default_threads()) as pool:
        return sum(pool.map(block, range(0, path.stat().st_size, BLOCK)))


def count_parameters(model: Model) -> Parameters:
    """Count what the student of ``model`` stores."""
    graph = student(model).graph
    masks = graphs.masks(graph)
    scales = weight_quantizers(graph)
    total = nonzero = nonzero_int8 = 0
    for tensor in _parameters(graph):
        values = masked(tensor, masks.get(tensor.name))
        kept = int(np.count_nonzero(values))
        total += values.size
        nonzero += kept
        pair = scales.get(tensor.name)
        if pair is not None:
            # Not saturated or cast: neither makes a zero, and a file may hold NaN.
            steps = values / graphs.along(pair.scale.values, pair.axis, values.ndim)
            kept = int(np.count_nonzero(np.rint(steps)))
        nonzero_int8 += kept
    return Parameters(total, nonzero, nonzero_int8)


def _parameters(graph: gs.Graph) -> Iterator[gs.Constant]:
    seen: set[str] = set()
    for node in graph.nodes:
        skipped = NOT_PARAMETERS.get(node.op, ())
        for index, tensor in enumerate(node.inputs):
            if not isinstance(tensor, gs.Constant) or index in skipped or tensor.name in seen:
                continue
            if tensor is graphs.mask_of(node) or not len(tensor.shape):
                continue
            stored = np.dtype(tensor.dtype)
            if stored.kind == "f" or node.op == "DequantizeLinear":
                seen.add(tensor.name)
                yield tensor


def masked(tensor: gs.Constant, mask: gs.Constant | None) -> np.ndarray:
    """The values of a weight as the network uses them; of a stored integer weight, less its zero point."""
    values: np.ndarray = tensor.values
    if values.dtype.kind == "f":
        return values if mask is None else values * mask.values
    node = next(reader for reader in tensor.outputs if reader.op == "DequantizeLinear")
    if len(node.inputs) < 3:
        return values
    axis = int(node.attrs.get("axis", 1))
    zero = graphs.along(node.inputs[2].values, axis, values.ndim)
    integers: np.ndarray = values.astype(np.int64) - zero
    return integers


def weight_quantizers(graph: gs.Graph) -> dict[str, graphs.Quantizer]:
    """The Q/DQ pair of each quantised weight, by the weight's name."""
    pairs = ((pair.weight, pair) for pair in graphs.quantizers(graph))
    return {weight.name: pair for weight, pair in pairs if weight is not None}
