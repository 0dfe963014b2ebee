"""Where Q/DQ pairs stand: what TensorRT computes in float all the same, and what it refuses.

Developer Guide 8.5, 7.4 ("Q/DQ placement recommendations") and figures 6 to 9.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.deploy.lint import pairs
from onnxcomp.deploy.lint.network import (
    MOVES,
    Network,
    constant,
    dtype,
    name_of,
    present,
    producer,
    sizes,
    values,
)
from onnxcomp.deploy.lint.rule import Hit, Rule, Scope
from onnxcomp.deploy.targets import Target
from onnxcomp.passes.qat.placement import walk

EVERY, OLD, GPU = Scope("tensorrt"), Scope("tensorrt", before=(10,)), Scope("gpu")
POOLS = ("AveragePool", "GlobalAveragePool", "ReduceMean")
ELEMENTWISE = ("Add", "Max", "Min", "Mul", "Sub")
ACTIVATIONS = ("Clip", "Relu")
GATES = ("HardSigmoid", "HardSwish", "Sigmoid")


def _int8_weights(network: Network, target: Target) -> Iterator[Hit]:
    for node in pairs.pair_nodes(network):
        stored = constant(node.inputs[0])
        if node.op == pairs.DEQUANTIZE and stored is not None and dtype(stored) == "int8":
            yield Hit(name_of(node), "it dequantises a constant that is stored in INT8")


def _weight_types(network: Network, target: Target) -> Iterator[Hit]:
    for node in pairs.pair_nodes(network):
        stored = constant(node.inputs[0]) if node.op == pairs.QUANTIZE else None
        if stored is not None and dtype(stored) != np.dtype(np.float32).name:
            yield Hit(name_of(node), f"it quantises a constant of {dtype(stored)}")


def _computed_weights(network: Network, target: Target) -> Iterator[Hit]:
    for layer in pairs.layers(network):
        before = producer(pairs.source(layer.weight))
        if before is not None and pairs.dequantizer(layer.weight) is not None:
            yield Hit(name_of(layer.node), f"its quantised weight is computed by {before.op}")


def _kernel_shape(network: Network, target: Target) -> Iterator[Hit]:
    for node in network.graph.nodes:
        if node.op in ("Conv", "ConvTranspose") and pairs.dequantizer(present(node, 1)) is not None:
            shape = sizes(pairs.source(node.inputs[1]))
            if (shape is None or None in shape) and not node.attrs.get("kernel_shape"):
                yield Hit(name_of(node), "the shape of its quantised weight is not fixed")


def _bias(network: Network, target: Target) -> Iterator[Hit]:
    for node in network.graph.nodes:
        if node.op in pairs.LAYERS and pairs.dequantizer(pairs.bias(node)) is not None:
            yield Hit(name_of(node), "its bias is behind DequantizeLinear")


def _weight_axis(network: Network, target: Target) -> Iterator[Hit]:
    for layer in pairs.layers(network):
        node, rank = pairs.dequantizer(layer.weight), len(sizes(pairs.source(layer.weight)) or ())
        if node is None or not rank or layer.axis is None or (pairs.scale_size(node) or 1) == 1:
            continue
        axis = int(node.attrs.get("axis", 1)) % rank
        if axis != layer.axis:
            what = f"its weight has scales along axis {axis}, and its outputs are axis {layer.axis}"
            yield Hit(name_of(layer.node), what)


def _one_side(network: Network, target: Target) -> Iterator[Hit]:
    for node in network.graph.nodes:
        if node.op not in (*POOLS, *ELEMENTWISE) or not node.outputs:
            continue
        inputs = [t for t in node.inputs if not t.is_empty() and not pairs.is_constant(t)]
        before = any(pairs.given_quantized(tensor) for tensor in inputs)
        behind = pairs.read_quantized(network, node.outputs[0], (*MOVES, *ACTIVATIONS))
        if before and not behind:
            yield Hit(name_of(node), f"{node.op} reads quantised values, and what it gives is not quantised")
        elif behind and not before and walk.is_average(node):
            yield Hit(name_of(node), f"what {node.op} gives is quantised, and what it reads is not")


def _concat(network: Network, target: Target) -> Iterator[Hit]:
    for node in network.graph.nodes:
        if node.op != "Concat":
            continue
        given = [one for t in node.inputs if not pairs.is_constant(t) for one in pairs.origins(t)]
        scales = [values(present(one, 1)) for one in given if one is not None]
        if 0 < len(scales) < len(given):
            yield Hit(name_of(node), "Concat has quantised inputs and others")
        elif len({float(one.reshape(-1)[0]) for one in scales if one is not None and one.size}) > 1:
            yield Hit(name_of(node), "the inputs of Concat have different scales")


def _behind_layer(network: Network, target: Target) -> Iterator[Hit]:
    for node in pairs.pair_nodes(network):
        before = producer(node.inputs[0])
        if node.op != pairs.QUANTIZE or before is None or before.op not in pairs.LAYERS:
            continue
        readers = [
            reader.op
            for one in node.outputs[0].outputs
            for tensor in one.outputs
            for reader in tensor.outputs
        ]
        found = next((op for op in readers if op in (*ACTIVATIONS, "BatchNormalization")), None)
        if found:
            yield Hit(name_of(node), f"it stands between {before.op} and {found}")


def _transpose_norm(network: Network, target: Target) -> Iterator[Hit]:
    for layer in pairs.layers(network):
        readers = [reader.op for reader in layer.node.outputs[0].outputs]
        if layer.node.op == "ConvTranspose" and layer.quantized and "BatchNormalization" in readers:
            yield Hit(name_of(layer.node), "an INT8 ConvTranspose with BatchNormalization behind it")


def _residual(network: Network, target: Target) -> Iterator[Hit]:
    for node in network.graph.nodes:
        given = [pairs.dequantizer(tensor) for tensor in node.inputs]
        if node.op != "Add" or len(given) != 2 or any(one is None for one in given):
            continue
        if any(_from_convolution(pairs.source(tensor)) for tensor in node.inputs):
            yield Hit(name_of(node), "both inputs of Add are quantised, and one comes from a convolution")


def _from_convolution(tensor: gs.Tensor) -> bool:
    node = producer(tensor)
    if node is not None and node.op == "BatchNormalization":
        node = producer(node.inputs[0])
    return node is not None and node.op == "Conv"


def _gated_depthwise(network: Network, target: Target) -> Iterator[Hit]:
    for layer in pairs.layers(network):
        shape = sizes(pairs.source(layer.weight)) or ()
        if layer.node.op != "Conv" or not layer.quantized or len(shape) < 2 or shape[1] != 1:
            continue
        if int(layer.node.attrs.get("group", 1)) == 1:  # of a grey image
            continue
        tensor = layer.node.outputs[0]
        while len(tensor.outputs) == 1 and tensor.outputs[0].op == "BatchNormalization":
            tensor = tensor.outputs[0].outputs[0]
        gate = next((reader.op for reader in tensor.outputs if reader.op in GATES), None)
        if gate:
            yield Hit(name_of(layer.node), f"an INT8 depthwise convolution with {gate}")


def _float_layers(network: Network, target: Target) -> Iterator[Hit]:
    for layer in pairs.layers(network):
        if not layer.quantized and dtype(layer.data) in ("", np.dtype(np.float32).name):
            yield Hit(name_of(layer.node), f"{layer.node.op} is float32")


RULES = (
    Rule(
        "int8-weight",
        "error",
        OLD,
        '"TensorRT does not support prequantized ONNX models that use INT8 tensors"'
        " (Developer Guide 8.5, 7.4.2)",
        "finalize for this target: float32 weights in front of QuantizeLinear and DequantizeLinear",
        _int8_weights,
    ),
    Rule(
        "weight-type",
        "error",
        OLD,
        '"Weights of Q/DQ models must be specified using FP32" (Developer Guide 8.5, 7.4.1)',
        "store the weight as float32",
        _weight_types,
    ),
    Rule(
        "computed-weight",
        "error",
        OLD,
        '"Weights of Q/DQ models must be specified using FP32" initializers (Developer Guide 8.5, 7.4.1)',
        "finalize it, or fold constants: polygraphy surgeon sanitize --fold-constants",
        _computed_weights,
    ),
    Rule(
        "kernel-shape",
        "error",
        EVERY,
        "a convolution whose weight is an input needs a fixed shape of it"
        " (builtin_op_importers.cpp, convMultiInput)",
        "store the weight as an initializer in front of its pair",
        _kernel_shape,
    ),
    Rule(
        "bias",
        "error",
        EVERY,
        "TensorRT scales the bias itself, and DequantizeLinear takes no INT32 (onnx-tensorrt issue 850)",
        "leave the bias a float32 initializer: QuantizeBias=False in ONNX Runtime's quantizer",
        _bias,
    ),
    Rule(
        "weight-axis",
        "error",
        EVERY,
        "a weight has one scale, or one for each output channel (Developer Guide 8.5, 7.1)",
        "quantise the weight along its output channels",
        _weight_axis,
    ),
    Rule(
        "one-side",
        "warning",
        GPU,
        "INT8 kernels of operators without weights read and write INT8: pairs on both sides or on none"
        " (Developer Guide 8.5, 7.4)",
        "quantise both sides, or neither",
        _one_side,
    ),
    Rule(
        "concat-scales",
        "warning",
        GPU,
        "TensorRT joins INT8 tensors of one scale without a kernel and rescales others"
        " (NVIDIA/Model-Optimizer, get_concat_eliminated_tensors)",
        "give all inputs one scale: qat{concat=shared}",
        _concat,
    ),
    Rule(
        "behind-layer",
        "warning",
        GPU,
        "TensorRT fuses BatchNormalization and Relu into the convolution before them if no pair is between"
        ' ("Do not simulate batch-normalization and ReLU fusions", Developer Guide 8.5, 7.4)',
        "quantise what the activation gives instead",
        _behind_layer,
    ),
    Rule(
        "transpose-norm",
        "warning",
        GPU,
        '"no support for Q/DQ + convTranspose + BN fusion yet" (TensorRT issue 3412)',
        "finalize for this target, which folds it",
        _transpose_norm,
    ),
    Rule(
        "residual",
        "warning",
        GPU,
        "a convolution and the Add behind it are one INT8 kernel if only the other input has a pair"
        " (Developer Guide 8.5, figures 6 to 9)",
        "leave the input from the longest way of convolutions without a pair",
        _residual,
    ),
    Rule(
        "depthwise-gate",
        "warning",
        Scope("gpu", before=(8, 6)),
        "8.5.2 may find no implementation of it (TensorRT issue 3385)",
        "leave it float: qat{exclude=...}",
        _gated_depthwise,
    ),
    Rule(
        "float-layer",
        "warning",
        Scope("gpu", since=(11,)),
        "TensorRT 11 is strongly typed: what is not quantised runs in the type that the file says",
        "quantise it, or make the rest of the network FP16 (AutoCast of NVIDIA/Model-Optimizer)",
        _float_layers,
    ),
)
