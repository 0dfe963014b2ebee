"""Which layers a DLA has: TensorRT Developer Guide 8.5, 12.2, "Layer Support and Restrictions".

What it does not have TensorRT gives to the GPU, if ``--allowGPUFallback`` is there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.deploy.dla.propagate import is_float
from onnxcomp.deploy.lint import pairs
from onnxcomp.deploy.lint.dla_precision import float_layers
from onnxcomp.deploy.lint.network import Network, name_of, present, sizes, values
from onnxcomp.deploy.lint.rule import Hit, Rule, Scope
from onnxcomp.deploy.targets import Target

DLA = Scope("dla")
GUIDE = "Developer Guide 8.5, 12"
_OPERATORS = """
Add AveragePool BatchNormalization Clip Concat Conv ConvTranspose Flatten Gemm Identity LeakyRelu LRN
MatMul Max MaxPool Min Mul PRelu Relu Reshape Resize Sigmoid Squeeze Sub Sum Tanh Transpose Unsqueeze
Upsample Dropout QuantizeLinear DequantizeLinear
"""
OPERATORS = frozenset(_OPERATORS.split())
ORIN_OPERATORS = frozenset({"Abs", "Equal", "Slice", "Softmax"})
SHAPES = frozenset({"Constant", "ConstantOfShape", "Shape"})
CONVOLUTIONS = ("Conv", "ConvTranspose")
LIMITS: dict[str, tuple[tuple[str, int, int], ...]] = {
    "Conv": (("kernel_shape", 1, 32), ("pads", 0, 31), ("strides", 1, 8), ("dilations", 1, 32)),
    "ConvTranspose": (("kernel_shape", 1, 32), ("pads", 0, 0), ("strides", 1, 32), ("dilations", 1, 1)),
    **dict.fromkeys(("AveragePool", "MaxPool"), (("kernel_shape", 1, 8), ("pads", 0, 7), ("strides", 1, 16))),
}
LONG = (64, 96, 128)  # a ConvTranspose may have such kernels of one row or column
SLOW = 23  # from here on square kernels and strides of a ConvTranspose are off: they compile too long
MOST_CHANNELS = 8192
CLIPS = (1, 127)
ALONE, AMONG = 8192, 1024  # most classes of a Softmax at one position, and at several
WINDOWS = (3, 5, 7, 9)
BANKS, BANK, ENTRIES = 16, 32768, 256  # of the convolution buffer: how many, bytes and entries of each
STRETCHES = {"nearest": 32, "linear": 4}


def on_gpu(network: Network, target: Target) -> set[str]:
    """Names of the nodes that the DLA does not run."""
    return {hit.node for rule in RULES for hit in rule.check(network, target)}


def _operators(network: Network, target: Target) -> Iterator[Hit]:
    for node in network.graph.nodes:
        known = node.op in OPERATORS or (_is_orin(target) and node.op in ORIN_OPERATORS)
        if known or node.op in SHAPES or not node.outputs or not is_float(node.outputs[0]):
            continue
        if all(pairs.is_constant(tensor) for tensor in node.inputs if not tensor.is_empty()):
            continue
        yield Hit(name_of(node), f"{node.op} is not among its operators")


def _is_orin(target: Target) -> bool:
    return target.two_four is not None  # its DLA is the one with structured sparsity


def _limits(network: Network, target: Target) -> Iterator[Hit]:
    for node in network.graph.nodes:
        for attribute, least, most in LIMITS.get(node.op, ()):
            found = _numbers(node, attribute)
            if attribute == "kernel_shape" and node.op == "ConvTranspose" and _is_long(found):
                continue
            if found and not least <= min(found) <= max(found) <= most:
                yield Hit(
                    name_of(node), f"{attribute} of {node.op} is {found}, and {least} to {most} are possible"
                )
        if node.op in CONVOLUTIONS:
            yield from _convolution(node)
        what = _other(node)
        if what:
            yield Hit(name_of(node), what)


def _numbers(node: gs.Node, attribute: str) -> Sequence[int]:
    found = node.attrs.get(attribute)
    if found is None and attribute == "kernel_shape" and node.op in CONVOLUTIONS:
        shape = sizes(pairs.source(node.inputs[1])) if len(node.inputs) > 1 else None
        found = [size for size in (shape or ())[2:] if size is not None]
    return [int(number) for number in found or ()]


def _is_long(kernel: Sequence[int]) -> bool:
    return len(kernel) == 2 and min(kernel) == 1 and max(kernel) in LONG


def _convolution(node: gs.Node) -> Iterator[Hit]:
    maps, group = sizes(node.outputs[0]), int(node.attrs.get("group", 1))
    kernel, pads, strides = (_numbers(node, name) for name in ("kernel_shape", "pads", "strides"))
    channels = (maps or (None, None))[1:2]
    if channels and channels[0] is not None and channels[0] > MOST_CHANNELS:
        yield Hit(name_of(node), f"{node.op} has {channels[0]} channels, and {MOST_CHANNELS} are possible")
    if node.op == "ConvTranspose" and group != 1:
        yield Hit(name_of(node), f"ConvTranspose has {group} groups, and 1 is possible")
    if maps is not None and len(maps) != 4:
        yield Hit(name_of(node), f"{node.op} has {len(maps) - 2} spatial dimensions, and 2 are possible")
    if any(pad >= size for pad, size in zip(pads, [*kernel, *kernel], strict=False)):
        yield Hit(name_of(node), f"padding of {node.op} is as wide as its kernel")
    square = len(set(kernel)) == 1 and kernel[0] >= SLOW
    if node.op == "ConvTranspose" and (square or max(strides, default=1) >= SLOW):
        yield Hit(name_of(node), f"ConvTranspose has a square kernel or a stride of {SLOW} or more")


def _other(node: gs.Node) -> str:
    if node.op == "LRN" and int(node.attrs.get("size", 0)) not in WINDOWS:
        return f"the window of LRN is {node.attrs.get('size')}, and {WINDOWS} are possible"
    if node.op == "PRelu" and not pairs.is_constant(node.inputs[1]):
        return "the slope of PRelu is not a constant"
    if node.op == "MatMul" and not any(map(pairs.is_constant, node.inputs)):
        return "MatMul multiplies two activations, and one input has to be a constant"
    if node.op == "Clip":
        return _clip(node)
    if node.op == "Softmax":
        return _softmax(node)
    return ""


def _clip(node: gs.Node) -> str:
    """The "clipped ReLU" of the guide: 0 below, one of 1 to 127 above."""
    low, high = (values(present(node, index)) for index in (1, 2))
    below = 0.0 if low is None else float(low.reshape(-1)[0])
    above = None if high is None else float(high.reshape(-1)[0])
    if below == 0 and (above is None or CLIPS[0] <= above <= CLIPS[1]):
        return ""
    most = "no limit" if above is None else f"{above:g}"
    return f"Clip is to {below:g} and {most}, and 0 and {CLIPS[0]} to {CLIPS[1]} are possible"


def _softmax(node: gs.Node) -> str:
    """The sizes of the DLA of the Orin (ISoftMaxLayer in NvInfer.h)."""
    shape = sizes(node.outputs[0])
    if shape is None:
        return ""
    axis = int(node.attrs.get("axis", -1)) % len(shape)
    if axis == 0:
        return "Softmax is over images"
    others = [size for index, size in enumerate(shape) if index not in (0, axis)]
    most, found = ALONE if all(size == 1 for size in others) else AMONG, shape[axis]
    if found is None or found <= most:
        return ""
    return f"Softmax is over {found}, and {most} are possible"


def _buffer(network: Network, target: Target) -> Iterator[Hit]:
    convolutions = [node for node in network.graph.nodes if node.op == "Conv"]
    floats = {id(node) for node in float_layers(network, convolutions)}
    for node in convolutions:
        banks = _banks(node, 2 if id(node) in floats else 1)
        if banks > BANKS:
            yield Hit(
                name_of(node), f"it needs {banks} banks of the convolution buffer, and there are {BANKS}"
            )


def _banks(node: gs.Node, size: int) -> int:
    """For one kernel and the rows that it covers, by the guide's formula; ``size`` bytes a value."""
    shape, kernel = sizes(node.inputs[0]), _numbers(node, "kernel_shape")
    if shape is None or len(shape) != 4 or len(kernel) != 2 or shape[1] is None or shape[3] is None:
        return 0
    channels, width = shape[1], shape[3]
    weights = math.ceil(channels * math.prod(kernel) * size / 128) * 128
    entries = math.ceil(math.ceil(channels * size / 32) * width / 4)
    rows = (kernel[0] - 1) * (_numbers(node, "dilations") or [1])[0] + 1
    return math.ceil(weights / BANK) + math.ceil(entries * rows / ENTRIES)


def _resize(network: Network, target: Target) -> Iterator[Hit]:
    for node in network.graph.nodes:
        if node.op not in ("Resize", "Upsample"):
            continue
        mode, factors = str(node.attrs.get("mode", "nearest")), _factors(node)
        most = STRETCHES.get(mode)
        if most is None:
            yield Hit(name_of(node), f"{node.op} is {mode}")
        elif factors is None:
            yield Hit(name_of(node), f"the factors of {node.op} are not known")
        elif len(factors) != 4 or any(one != 1 for one in factors[:2]) or not _suit(factors[2:], most):
            found = ", ".join(f"{one:g}" for one in factors)
            yield Hit(
                name_of(node), f"{node.op} is by {found}, and 1, 1 and whole ones to {most} are possible"
            )


def _factors(node: gs.Node) -> list[float] | None:
    """By which each axis grows; None where neither the factors nor both shapes are known."""
    given = values(present(node, 1 if node.op == "Upsample" else 2))
    if given is not None and given.size:
        return [float(one) for one in np.asarray(given, np.float64).reshape(-1)]
    before, after = sizes(node.inputs[0]), sizes(node.outputs[0])
    if before is None or after is None or len(before) != len(after) or None in (*before[1:], *after[1:]):
        return None
    grown = zip(after[1:], before[1:], strict=True)
    return [1.0, *(new / old for new, old in grown if new is not None and old)]


def _suit(factors: Sequence[float], most: int) -> bool:
    return all(1 <= one <= most and one == int(one) for one in factors)


def _concat_axis(network: Network, target: Target) -> Iterator[Hit]:
    for node in network.graph.nodes:
        rank = len(sizes(node.outputs[0]) or ()) if node.outputs else 0
        if node.op != "Concat" or not rank or not is_float(node.outputs[0]):
            continue
        axis = int(node.attrs.get("axis", 1)) % rank
        if rank != 4 or axis != 1:
            yield Hit(name_of(node), f"Concat along axis {axis} of {rank}")


RULES = (
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
        "dla-buffer",
        "warning",
        DLA,
        "one kernel and the rows that it covers must fit the 16 banks of the convolution buffer, or the layer"
        f' runs on the GPU ("wtBanksForOneKernel + minDataBanks", {GUIDE}.2)',
        "give it fewer channels, a narrower input or a smaller kernel, or let it run on the GPU",
        _buffer,
    ),
    Rule(
        "dla-resize",
        "warning",
        DLA,
        f"the DLA grows height and width by whole factors, nearest to 32 and bilinear to 4 ({GUIDE}.2)",
        "choose such a factor, written as a constant, or let it run on the GPU",
        _resize,
    ),
    Rule(
        "dla-concat-axis",
        "warning",
        DLA,
        f'"DLA supports concatenation only along the channel axis" ({GUIDE}.2)',
        "join channels, or let it run on the GPU",
        _concat_axis,
    ),
)
