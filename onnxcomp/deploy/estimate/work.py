"""What each layer has to do on a target: operations, and bytes that it reads and writes in which type."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.deploy.estimate.fusing import BORDERS, FREE, PRODUCTS, Fused
from onnxcomp.deploy.lint import pairs
from onnxcomp.deploy.lint.network import Network, constant, name_of, producer, values
from onnxcomp.errors import ModelError

BYTES = {"INT8": 1, "FP16": 2, "FP32": 4}
VECTOR = {"INT8": 32, "FP16": 8, "FP32": 1}
"""Channels that lie together, to whose multiples tensors are filled up: kCHW32 and kHWC8 (Developer Guide
8.5, "Types of Tensor Cores" and "I/O Formats")."""
GROUP = IMAGE = 4
Sizes = Callable[[gs.Tensor], tuple[int, ...]]


@dataclass(frozen=True)
class Work:
    """One layer; numbers are for the whole batch.

    Attributes:
        name: of its nodes, joined by " + ".
        node: the name of the one that does most.
        kind: see :class:`.fusing.Fused`; "reformat" for a change of type at a border.
        precision: INT8, FP16 or FP32, in which it computes.
        why: why not INT8; "" where it is.
        macs: multiply-adds with channels as they are; 0 for a layer without weights.
        inputs, outputs: channels of each group of a convolution or product.
        groups: of a convolution.
        moved: bytes of activations, filled up to whole vectors.
        weights: number of weights.
        two_four: they have the 2:4 pattern.
        free: nothing is to be done: a Concat into whose output its inputs are written.
    """

    name: str
    node: str
    kind: str
    precision: str
    why: str = ""
    macs: int = 0
    inputs: int = 0
    outputs: int = 0
    groups: int = 1
    moved: int = 0
    weights: int = 0
    two_four: bool = False
    free: bool = False


@dataclass(frozen=True)
class Types:
    """In which type layers compute and tensors lie.

    Attributes:
        network: the file.
        float_type: FP16, or FP32 where the target's types are strong or FP16 was not allowed.
        scales: of a DLA's calibration cache, by tensor; None for a network with Q/DQ.
        floats: names of layers that are to run in FP16 on a DLA.
    """

    network: Network
    float_type: str
    scales: Mapping[str, float] | None = None
    floats: frozenset[str] = frozenset()

    def layer(self, fused: Fused) -> tuple[str, str]:
        """Its type, and why it is not INT8."""
        if self.scales is not None:
            return self._calibrated(fused, self.scales)
        main = main_node(fused)
        if main.op in PRODUCTS:
            weight = next((i for i in (1, 0) if pairs.is_constant(main.inputs[i])), None)
            if weight is None:
                inputs = main.inputs[:2]
            else:
                inputs = [main.inputs[1 - weight]]
                if pairs.dequantizer(main.inputs[weight]) is None:
                    return self.float_type, "its weight has no Q/DQ"
            quantised = all(pairs.given_quantized(tensor) for tensor in inputs)
            return ("INT8", "") if quantised else (self.float_type, "what it reads has no Q/DQ")
        if not all(pairs.given_quantized(tensor) for tensor in fused.inputs()):
            return self.float_type, "what it reads has no Q/DQ"
        if fused.kind == "concat" or self.stored(fused.output) == "INT8":
            return "INT8", ""
        return self.float_type, "what it gives has no Q/DQ"

    def stored(self, tensor: gs.Tensor) -> str:
        """The type in which a tensor lies between two layers."""
        if producer(tensor) is None:  # given to the network, as its file says
            return "FP32"
        if self.scales is not None:
            return "INT8" if root(tensor).name in self.scales else self.float_type
        if pairs.given_quantized(tensor) or pairs.read_quantized(self.network, tensor, tuple(FREE)):
            return "INT8"
        return "FP32" if self.network.is_output(tensor) else self.float_type

    def _calibrated(self, fused: Fused, scales: Mapping[str, float]) -> tuple[str, str]:
        if any(name_of(node) in self.floats for node in fused.nodes):
            return self.float_type, "the file beside it says FP16"
        known = [root(tensor).name in scales for tensor in (*fused.inputs(), fused.output)]
        return ("INT8", "") if all(known) else (self.float_type, "a tensor has no scale")


def root(tensor: gs.Tensor) -> gs.Tensor:
    """The tensor that ``tensor`` is in another shape or rounding."""
    node = producer(tensor)
    while node is not None and node.op in (*FREE, *BORDERS):
        tensor = node.inputs[0]
        node = producer(tensor)
    return tensor


def main_node(fused: Fused) -> gs.Node:
    """The one with weights, else the first."""
    return next((node for node in fused.nodes if node.op in PRODUCTS), fused.nodes[0])


def works(fused: Fused, types: Types, size: Sizes) -> list[Work]:
    """What a layer has to do, and before it the changes of type that TensorRT inserts for it.

    Args:
        size: the shape of a tensor with the batch, all of it known.
    """
    precision, why = types.layer(fused)
    main = main_node(fused)
    reads, before = 0, []
    for tensor in fused.inputs():
        stored = types.stored(root(tensor) if precision == "INT8" else tensor)
        reads += moved(size(tensor), precision if stored != precision else stored)
        if stored != precision and _needs_reformat(fused, tensor, stored):
            before.append(_reformat(tensor, stored, precision, size))
    written = types.stored(fused.output)
    work = Work(
        name=fused.name,
        node=name_of(main),
        kind=fused.kind,
        precision=precision,
        why=why,
        moved=reads + moved(size(fused.output), written),
        free=fused.kind == "concat" and _is_free(main, precision, size),
    )
    return [*before, _with_product(work, main, size) if main.op in PRODUCTS else work]


def _needs_reformat(fused: Fused, tensor: gs.Tensor, stored: str) -> bool:
    """An elementwise kernel reads whatever type; others want theirs."""
    return fused.kind not in ("pointwise", "concat") or stored == "FP32"


def _reformat(tensor: gs.Tensor, stored: str, wanted: str, size: Sizes) -> Work:
    shape = size(tensor)
    name = f"reformat of {root(tensor).name}"
    return Work(name, "", "reformat", wanted, "", moved=moved(shape, stored) + moved(shape, wanted))


def _with_product(work: Work, node: gs.Node, size: Sizes) -> Work:
    """With its multiply-adds, channels and weights."""
    index = next((i for i in (1, 0) if pairs.is_constant(node.inputs[i])), None)
    shape, output = size(pairs.source(node.inputs[1 if index is None else index])), size(node.outputs[0])
    _check_weight(node, shape)
    if node.op == "MatMul" and len(shape) == 1:  # a column, as MatMul takes it
        shape, output = (*shape, 1), (*output, 1)
    if node.op in ("Conv", "ConvTranspose"):
        groups = int(node.attrs.get("group", 1))
        outputs, inputs = (
            (shape[0] // groups, shape[1]) if node.op == "Conv" else (shape[1], shape[0] // groups)
        )
        pixels = math.prod(output if node.op == "Conv" else size(node.inputs[0])) // (outputs * groups)
        if node.op == "ConvTranspose":
            pixels = math.prod(size(node.inputs[0])) // shape[0]
        macs = pixels * math.prod(shape[2:]) * inputs * outputs * groups
    else:
        groups, outputs = 1, output[-1]
        transposed = node.op == "Gemm" and bool(node.attrs.get("transB", 0))
        inputs = shape[-1 if transposed or index == 0 else -2]
        macs = math.prod(output) * inputs
    return dataclasses.replace(
        work,
        macs=macs,
        inputs=inputs,
        outputs=outputs,
        groups=groups,
        weights=0 if index is None else math.prod(shape),
        two_four=index is not None and _is_two_four(node, index),
    )


def _check_weight(node: gs.Node, shape: tuple[int, ...]) -> None:
    """Raises:
    ModelError: its weight has too few axes, or channels that its groups do not divide.
    """
    convolves = node.op in ("Conv", "ConvTranspose")
    least = {"MatMul": 1, "Gemm": 2}.get(node.op, 3)
    groups = int(node.attrs.get("group", 1)) if convolves else 1
    if len(shape) < least or groups < 1 or (convolves and shape[0] % groups):
        raise ModelError(
            f"the weight of {name_of(node)} is {'x'.join(map(str, shape))}, which {node.op} does not take",
            fix="export the model again",
        )


def _is_two_four(node: gs.Node, index: int) -> bool:
    """Of four weights of neighbouring input channels at most two are not 0 (Developer Guide 8.5, 6.8)."""
    found = values(pairs.source(node.inputs[index]))
    if found is None or constant(pairs.source(node.inputs[index])) is None or found.ndim < 2:
        return False
    turned = node.op == "Gemm" and not node.attrs.get("transB", 0)
    channels = np.moveaxis(found, 0 if turned or node.op == "MatMul" else 1, -1)
    if channels.shape[-1] % GROUP:
        return False
    return bool(np.all(np.count_nonzero(channels.reshape(-1, GROUP), axis=1) <= 2))


def _is_free(node: gs.Node, precision: str, size: Sizes) -> bool:
    """Whether inputs of a Concat of channels can be written into its output at once: each begins a vector."""
    if node.attrs.get("axis") not in (1, -3):
        return False
    return all(size(tensor)[1] % VECTOR[precision] == 0 for tensor in node.inputs[:-1])


def moved(shape: tuple[int, ...], precision: str) -> int:
    """Bytes of a tensor whose channels are filled up to whole vectors."""
    if len(shape) < 3:
        return math.prod(shape) * BYTES[precision]
    return math.prod((shape[0], filled(shape[1], precision), *shape[2:])) * BYTES[precision]


def filled(channels: int, precision: str) -> int:
    """Channels with those that fill the last vector; of an image there are four (kCHW4)."""
    vector = min(IMAGE, VECTOR[precision]) if channels <= IMAGE else VECTOR[precision]
    return -(-channels // vector) * vector
