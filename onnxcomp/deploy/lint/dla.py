"""What a DLA takes of a whole network, and in INT8: TensorRT Developer Guide 8.5, 12."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_graphsurgeon as gs

from onnxcomp import two_four
from onnxcomp.deploy.dla.files import read_calibration
from onnxcomp.deploy.dla.propagate import EQUAL, ends, is_float, spread
from onnxcomp.deploy.lint import pairs
from onnxcomp.deploy.lint.dla_limits import DLA, GUIDE, SHAPES, on_gpu
from onnxcomp.deploy.lint.dla_precision import float_layers, fp16, scales
from onnxcomp.deploy.lint.network import Network, constant, name_of, sizes, values
from onnxcomp.deploy.lint.rule import Hit, Rule
from onnxcomp.deploy.targets import Target
from onnxcomp.deploy.write import CALIBRATION
from onnxcomp.errors import ModelError

SAME = 1 + 1e-6  # scales are float32
MOST_IMAGES, MOST_PIXELS = 4096, 8192
LOADABLES = 16
SPARSE_WEIGHTS = 256 * 1024
SPARSE_OUTPUTS = frozenset({0, 1, 2, 4, 8, 16, 32})  # of the remainder by 64


def _pairs(network: Network, target: Target) -> Iterator[Hit]:
    for node in pairs.pair_nodes(network):
        yield Hit(name_of(node), f"{node.op} in a network for the DLA")


def _shape(network: Network, target: Target) -> Iterator[Hit]:
    """A free batch is none: ``onnxcomp build`` names it, and trtexec takes 1 for it."""
    for tensor in network.graph.inputs:
        batch, *others = sizes(tensor) or (None,)
        if None in others:
            yield Hit("", f"the shape of input {tensor.name} is not fixed")
        if batch is not None and batch > MOST_IMAGES:
            yield Hit("", f"the batch is {batch}, and {MOST_IMAGES} are possible")
        if any(size is not None and size > MOST_PIXELS for size in others):
            yield Hit("", f"input {tensor.name} is larger than {MOST_PIXELS} in one direction")


def _loadables(network: Network, target: Target) -> Iterator[Hit]:
    gpu = on_gpu(network, target)
    computed = [node for node in network.graph.nodes if node.outputs and is_float(node.outputs[0])]
    there = [node for node in computed if node.op not in SHAPES and name_of(node) not in gpu]
    count = _pieces(there)
    if count > LOADABLES:
        yield Hit("", f"it falls into {count} pieces at least, and {LOADABLES} fit a core")


def _pieces(nodes: list[gs.Node]) -> int:
    """Number of groups of nodes that are joined by tensors."""
    inside, seen, count = {id(node) for node in nodes}, set[int](), 0
    for first in nodes:
        count += id(first) not in seen
        waiting = [first]
        while waiting:
            node = waiting.pop()
            if id(node) in seen or id(node) not in inside:
                continue
            seen.add(id(node))
            waiting += [other for tensor in node.inputs for other in tensor.inputs]
            waiting += [other for tensor in node.outputs for other in tensor.outputs]
    return count


def _cache(network: Network, target: Target) -> Iterator[Hit]:
    path = network.path.with_suffix(CALIBRATION)
    if not path.exists():
        yield Hit("", f"there is no {path.name} beside it")
        return
    try:
        read_calibration(path)
    except ModelError as error:
        yield Hit("", f"{path.name}: {error.what}")


def _unequal(network: Network, target: Target) -> Iterator[Hit]:
    known, listed = scales(network) or {}, fp16(network.path)
    for node in network.graph.nodes if known else ():
        if node.op in EQUAL and node.name not in listed and spread(node, known) > SAME:
            yield Hit(name_of(node), f"the scales around {node.op} are not equal")


def _unscaled(network: Network, target: Target) -> Iterator[Hit]:
    """Those that the list beside the file runs in FP16 are meant so."""
    known, listed = scales(network) or {}, fp16(network.path)
    for node in network.graph.nodes if known else ():
        if not node.outputs or node.op in SHAPES or node.name in listed or not is_float(node.outputs[0]):
            continue
        if any(name not in known for name in ends(node)):
            yield Hit(name_of(node), "it reads or writes a tensor without a scale")


def _sparse(network: Network, target: Target) -> Iterator[Hit]:
    if target.two_four is None:
        return
    convolutions = [layer.node for layer in pairs.layers(network) if layer.node.op == "Conv"]
    floats = {id(node) for node in float_layers(network, convolutions)}
    for node in convolutions:
        weight = values(constant(node.inputs[1]))
        if weight is None or not two_four.holds(two_four.by_channel(node, weight, outputs_first=True)):
            continue
        outputs, inputs = weight.shape[:2]
        reasons = {
            "it is not in INT8": id(node) in floats,
            f"it has {inputs} input channels": inputs < target.two_four,
            f"it has {outputs} output channels": outputs % 64 not in SPARSE_OUTPUTS,
            f"it has {weight.size:,} weights": weight.size > SPARSE_WEIGHTS,
        }
        found = [reason for reason, holds in reasons.items() if holds]
        if found:
            yield Hit(name_of(node), f"its weight is 2:4, and {found[0]}")


RULES = (
    Rule(
        "dla-pairs",
        "error",
        DLA,
        f'"DLA does not support Explicit Quantization" ({GUIDE})',
        "finalize for this target, which puts the scales into a calibration cache",
        _pairs,
    ),
    Rule(
        "dla-shape",
        "warning",
        DLA,
        "the DLA takes fixed shapes, at most 4096 images and 8192 in other directions (general restrictions,"
        f" {GUIDE}.2)",
        "name the sizes when you build it: trtexec --shapes=input:1x3x32x32",
        _shape,
    ),
    Rule(
        "dla-loadables",
        "warning",
        DLA,
        "each layer for the GPU cuts the network, and a core holds 16 pieces at once (general restrictions,"
        f" {GUIDE}.2)",
        "replace operators that the DLA has not, or run the whole network on the GPU",
        _loadables,
    ),
    Rule(
        "calibration-cache",
        "warning",
        DLA,
        f"INT8 on the DLA needs a calibration cache with the scales ({GUIDE})",
        "finalize for this target, and keep the files together; without it the network runs in FP16",
        _cache,
    ),
    Rule(
        "dla-equal-scales",
        "error",
        DLA,
        f"INT8 pooling wants one scale before and behind, Concat one for all it reads and writes ({GUIDE}.2)",
        "finalize for this target again, or list the layer as fp16",
        _unequal,
    ),
    Rule(
        "dla-scale",
        "warning",
        DLA,
        '"Missing scale and zero-point for tensor ..., expect fall back to non-int8 implementation for any'
        ' layer consuming or producing given tensor" (TensorRT)',
        "quantise what it reads and writes, or list the layer as fp16",
        _unscaled,
    ),
    Rule(
        "dla-sparse",
        "warning",
        DLA,
        "the DLA of the Orin has sparse kernels for INT8 convolutions of more than 64 input channels, of at"
        " most 256K weights, and of 64 n + 0, 1, 2, 4, 8, 16 or 32 output channels; others it computes dense"
        f" ({GUIDE}.7)",
        "prune it without the pattern, or change its channels",
        _sparse,
    ),
)
