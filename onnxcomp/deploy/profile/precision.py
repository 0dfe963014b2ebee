"""In what a layer computes, as far as TensorRT says.

It names no precision, only the types of what a layer reads and writes and of its weights. A convolution or a
product computes in the type of its first input; what else it reads (a residual, a bias) may be of another.
Any other layer computes in the widest type at its borders: one that reads INT8 and writes FP16 has nothing
else in INT8 than its input.
"""

from __future__ import annotations

import re

from onnxcomp.deploy.trtexec.exports.layers import LayerInfo

WIDEST = ("FP64", "FP32", "BF16", "FP16", "FP8", "FP4", "INT8", "INT4")
FLOATS = frozenset(WIDEST[:4])
PRODUCT = re.compile(r"conv|gemm|matrixmultiply|matmul|fullyconnected|mha", re.IGNORECASE)
COPIES = ("reformat", "noop", "shuffle", "copy", "move", "cast")


def multiplies(layer: LayerInfo) -> bool:
    """Whether it is a convolution or a product of matrices."""
    return not is_reformat(layer) and bool(PRODUCT.search(f"{layer.kind} {layer.parameters}"))


def is_reformat(layer: LayerInfo) -> bool:
    """Whether it only brings a tensor into another type or layout."""
    if layer.kind:
        return layer.kind.lower() == "reformat"
    return layer.name.startswith("Reformatting CopyNode")


def precision(layer: LayerInfo) -> str:
    """FP32, FP16, INT8 and so on; ``FP32 to INT8`` for a reformat; "" where it is not said."""
    reads = [each.type for each in layer.inputs if each.type]
    writes = [each.type for each in layer.outputs if each.type]
    if is_reformat(layer):
        return f"{reads[0]} to {writes[0]}" if reads and writes else ""
    if multiplies(layer):
        first = layer.inputs[0].type if layer.inputs else ""
        return first or layer.weights
    widest = [each for each in WIDEST if each in (*reads, *writes)]
    return widest[0] if widest else next(iter((*reads, *writes)), "")


def is_float_output(layer: LayerInfo) -> bool:
    """Whether it computes in INT8 but writes floats: legal and slower ("INT8->FP32", G85 7.4)."""
    writes = {each.type for each in layer.outputs if each.type}
    return precision(layer) == "INT8" and writes <= FLOATS and bool(writes)


def has_sparse_kernel(layer: LayerInfo) -> bool | None:
    """Whether its kernel skips the zeros of 2:4 sparse weights; None where the kernel is not said.

    Such kernels say so in their names, ``sm80_xmma_fprop_sparse_conv_interleaved_i8i8`` for one (logs in
    TRT#2310 and TRT#4694).
    """
    return "sparse" in layer.tactic.lower() if layer.tactic else None
