"""What each layer has to do on a target: operations, and bytes that it reads and writes in which type."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import onnx_graphsurgeon as gs

from onnxcomp import two_four
from onnxcomp.deploy.estimate.fusing import PRODUCTS, Fused
from onnxcomp.deploy.estimate.precision import Types, main_node, root
from onnxcomp.deploy.lint import pairs
from onnxcomp.deploy.lint.network import constant, name_of, values
from onnxcomp.errors import ModelError

BYTES = {"INT8": 1, "FP16": 2, "FP32": 4}
VECTOR = {"INT8": 32, "FP16": 8, "FP32": 1}
"""Channels that lie together, to whose multiples tensors are filled up: kCHW32 and kHWC8 (Developer Guide
8.5, "Types of Tensor Cores" and "I/O Formats")."""
IMAGE = 4
Sizes = Callable[[gs.Tensor], tuple[int, ...]]


class Stored(NamedTuple):
    """An activation in memory.

    Attributes:
        shape: with the batch.
        precision: INT8, FP16 or FP32.
    """

    shape: tuple[int, ...]
    precision: str


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
        tensors: activations that it reads and writes.
        moved: bytes of them, filled up to whole vectors.
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
    tensors: tuple[Stored, ...] = ()
    weights: int = 0
    two_four: bool = False
    free: bool = False
    moved: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "moved", sum(moved(*tensor) for tensor in self.tensors))


def works(fused: Fused, types: Types, size: Sizes) -> list[Work]:
    """What a layer has to do, and before it the changes of type that TensorRT inserts for it.

    Args:
        size: the shape of a tensor with the batch, all of it known.
    """
    precision, why = types.layer(fused)
    main = main_node(fused)
    reads, before = [], []
    for tensor in fused.inputs():
        stored = types.stored(root(tensor) if precision == "INT8" else tensor)
        reads.append(Stored(size(tensor), precision))
        if stored != precision and _needs_reformat(fused, tensor, stored):
            before.append(_reformat(tensor, stored, precision, size))
    written = types.stored(fused.output)
    work = Work(
        name=fused.name,
        node=name_of(main),
        kind=fused.kind,
        precision=precision,
        why=why,
        tensors=(*reads, Stored(size(fused.output), written)),
        free=fused.kind == "concat" and _is_free(main, precision, size),
    )
    return [*before, _with_product(work, main, size) if main.op in PRODUCTS else work]


def _needs_reformat(fused: Fused, tensor: gs.Tensor, stored: str) -> bool:
    """An elementwise kernel reads whatever type; others want theirs."""
    return fused.kind not in ("pointwise", "concat") or stored == "FP32"


def _reformat(tensor: gs.Tensor, stored: str, wanted: str, size: Sizes) -> Work:
    shape = size(tensor)
    name = f"reformat of {root(tensor).name}"
    return Work(name, "", "reformat", wanted, tensors=(Stored(shape, stored), Stored(shape, wanted)))


def _with_product(work: Work, node: gs.Node, size: Sizes) -> Work:
    """With its multiply-adds, channels and weights."""
    index = next((i for i in (1, 0) if pairs.is_constant(node.inputs[i])), None)
    shape, output = size(pairs.source(node.inputs[1 if index is None else index])), size(node.outputs[0])
    _check_weight(node, shape)
    if node.op == "MatMul" and len(shape) == 1:  # a row or a column, as MatMul takes it
        shape, output = ((1, *shape) if index == 0 else (*shape, 1)), (*output, 1)
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
        groups, outputs_first = 1, _outputs_first(node, index)
        outputs, inputs = (shape[-2], shape[-1]) if outputs_first else (shape[-1], shape[-2])
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
    found = values(pairs.source(node.inputs[index]))
    if found is None or constant(pairs.source(node.inputs[index])) is None or found.ndim < 2:
        return False
    return two_four.holds(two_four.by_channel(node, found, outputs_first=_outputs_first(node, index)))


def _outputs_first(node: gs.Node, index: int | None) -> bool:
    """Whether the rows of a product's weight are its output channels, and not what is summed over."""
    return bool(node.attrs.get("transB", 0)) if node.op == "Gemm" else index == 0


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
