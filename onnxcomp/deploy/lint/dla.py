"""What a DLA runs, and in INT8: TensorRT Developer Guide 8.5, 12, "Layer Support and Restrictions".

What it does not run TensorRT gives to the GPU, if ``--allowGPUFallback`` is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx_graphsurgeon as gs

from onnxcomp.deploy.dla.files import read_calibration
from onnxcomp.deploy.dla.propagate import EQUAL, ends, is_float, spread
from onnxcomp.deploy.lint import pairs
from onnxcomp.deploy.lint.network import Network, name_of, sizes
from onnxcomp.deploy.lint.report import Where
from onnxcomp.deploy.lint.rule import Hit, Rule, Scope
from onnxcomp.deploy.targets import Target
from onnxcomp.deploy.write import CALIBRATION, PRECISIONS
from onnxcomp.errors import ModelError

DLA = Scope("dla")
_OPERATORS = """
Add AveragePool BatchNormalization Clip Concat Conv ConvTranspose Flatten Gemm Identity LeakyRelu LRN
MatMul Max MaxPool Min Mul PRelu Relu Reshape Resize Sigmoid Squeeze Sub Sum Tanh Transpose Unsqueeze
Upsample Dropout QuantizeLinear DequantizeLinear
"""
OPERATORS = frozenset(_OPERATORS.split())
ORIN_OPERATORS = frozenset({"Abs", "Equal", "Slice", "Softmax"})
SHAPES = frozenset({"Constant", "ConstantOfShape", "Shape"})
GUIDE = "Developer Guide 8.5, 12"
LIMITS: dict[str, tuple[tuple[str, int, int], ...]] = {
    "Conv": (("kernel_shape", 1, 32), ("pads", 0, 31), ("strides", 1, 8), ("dilations", 1, 32)),
    "ConvTranspose": (("kernel_shape", 1, 32), ("pads", 0, 0), ("strides", 1, 32), ("dilations", 1, 1)),
    **dict.fromkeys(("AveragePool", "MaxPool"), (("kernel_shape", 1, 8), ("pads", 0, 7), ("strides", 1, 16))),
}
MOST_CHANNELS = 8192
SAME = 1 + 1e-6  # scales are float32


def _pairs(network: Network, target: Target) -> Iterator[Hit]:
    for node in pairs.pair_nodes(network):
        yield Hit(name_of(node), f"{node.op} in a network for the DLA")


def _operators(network: Network, target: Target) -> Iterator[Hit]:
    orin = target.two_four is not None  # its DLA is the one with structured sparsity
    for node in network.graph.nodes:
        known = node.op in OPERATORS or (orin and node.op in ORIN_OPERATORS)
        if known or node.op in SHAPES or not node.outputs or not is_float(node.outputs[0]):
            continue
        if all(pairs.is_constant(tensor) for tensor in node.inputs if not tensor.is_empty()):
            continue
        yield Hit(name_of(node), f"{node.op} is not among its operators")


def _limits(network: Network, target: Target) -> Iterator[Hit]:
    for node in network.graph.nodes:
        for attribute, least, most in LIMITS.get(node.op, ()):
            found = _numbers(node, attribute)
            if found and not least <= min(found) <= max(found) <= most:
                yield Hit(
                    name_of(node), f"{attribute} of {node.op} is {found}, and {least} to {most} are possible"
                )
        if node.op in ("Conv", "ConvTranspose"):
            yield from _channels(node)


def _numbers(node: gs.Node, attribute: str) -> Sequence[int]:
    found = node.attrs.get(attribute)
    if found is None and attribute == "kernel_shape" and node.op in ("Conv", "ConvTranspose"):
        shape = sizes(pairs.source(node.inputs[1])) if len(node.inputs) > 1 else None
        found = [size for size in (shape or ())[2:] if size is not None]
    return [int(number) for number in found or ()]


def _channels(node: gs.Node) -> Iterator[Hit]:
    maps, group = sizes(node.outputs[0]), int(node.attrs.get("group", 1))
    channels = (maps or (None, None))[1:2]
    if channels and channels[0] is not None and channels[0] > MOST_CHANNELS:
        yield Hit(name_of(node), f"{node.op} has {channels[0]} channels, and {MOST_CHANNELS} are possible")
    if node.op == "ConvTranspose" and group != 1:
        yield Hit(name_of(node), f"ConvTranspose has {group} groups, and 1 is possible")
    if maps is not None and len(maps) != 4:
        yield Hit(name_of(node), f"{node.op} has {len(maps) - 2} spatial dimensions, and 2 are possible")


def _concat_axis(network: Network, target: Target) -> Iterator[Hit]:
    for node in network.graph.nodes:
        rank = len(sizes(node.outputs[0]) or ()) if node.outputs else 0
        if node.op != "Concat" or not rank or not is_float(node.outputs[0]):
            continue
        axis = int(node.attrs.get("axis", 1)) % rank
        if rank != 4 or axis != 1:
            yield Hit(name_of(node), f"Concat along axis {axis} of {rank}")


def _free_shape(network: Network, target: Target) -> Iterator[Hit]:
    for tensor in network.graph.inputs:
        if None in (sizes(tensor) or ()):
            yield Hit("", f"the shape of input {tensor.name} is not fixed")


def _cache(network: Network, target: Target) -> Iterator[Hit]:
    path = network.path.with_suffix(CALIBRATION)
    if not path.exists():
        yield Hit("", f"there is no {path.name} beside it")
        return
    try:
        read_calibration(path)
    except ModelError as error:
        yield Hit("", f"{path.name}: {error.what}")


def _scales(network: Network) -> Mapping[str, float] | None:
    """The calibration cache beside the file; None where there is none that can be read."""
    path = network.path.with_suffix(CALIBRATION)
    try:
        return read_calibration(path) if path.exists() else None
    except ModelError:
        return None  # calibration-cache says why


def _fp16(path: Path) -> set[str]:
    """Layers that the list beside the file runs in FP16."""
    beside = path.with_suffix(PRECISIONS)
    text = beside.read_text(encoding="utf-8") if beside.exists() else ""
    return {entry.rpartition(":")[0] for entry in text.split(",")}


def _unequal(network: Network, target: Target) -> Iterator[Hit]:
    scales = _scales(network)
    fp16 = _fp16(network.path)
    for node in network.graph.nodes if scales else ():
        if node.op in EQUAL and node.name not in fp16 and spread(node, scales or {}) > SAME:
            yield Hit(name_of(node), f"the scales around {node.op} are not equal")


def _unscaled(network: Network, target: Target) -> Iterator[Hit]:
    scales = _scales(network)
    for node in network.graph.nodes if scales else ():
        if not node.outputs or node.op in SHAPES or not is_float(node.outputs[0]):
            continue
        if any(name not in (scales or {}) for name in ends(node)):
            yield Hit(name_of(node), "it reads or writes a tensor without a scale")


def coverage(network: Network) -> Where | None:
    """Which layers have scales all around and are not listed as FP16; None without a calibration cache."""
    scales, fp16 = _scales(network), _fp16(network.path)
    if scales is None:
        return None
    found = [layer.node for layer in pairs.layers(network)]
    floats = [n.name for n in found if n.name in fp16 or any(name not in scales for name in ends(n))]
    return Where(len(found) - len(floats), len(found), tuple(floats))


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
        "dla-operator",
        "warning",
        DLA,
        f"other ones run on the GPU, with --allowGPUFallback ({GUIDE}.2, and operators/README.md"
        " of NVIDIA/Deep-Learning-Accelerator-SW)",
        "replace it by what the DLA has, or let it run on the GPU",
        _operators,
    ),
    Rule(
        "dla-limits",
        "warning",
        DLA,
        f"beyond these a layer runs on the GPU, with --allowGPUFallback ({GUIDE}.2)",
        "choose a smaller one, or let it run on the GPU",
        _limits,
    ),
    Rule(
        "dla-concat-axis",
        "warning",
        DLA,
        f'"DLA supports concatenation only along the channel axis" ({GUIDE}.2)',
        "join channels, or let it run on the GPU",
        _concat_axis,
    ),
    Rule(
        "dla-shape",
        "warning",
        DLA,
        f"the DLA takes fixed shapes: minimum, optimum and maximum must be equal ({GUIDE}.2)",
        "name the sizes when you build it: trtexec --shapes=input:1x3x32x32",
        _free_shape,
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
        "quantise what it reads and writes, or leave it in FP16",
        _unscaled,
    ),
)
