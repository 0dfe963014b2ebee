"""A layer of an engine with its time, and sums over layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Layer:
    """One layer of an engine, with its time.

    Attributes:
        name: as TensorRT calls it.
        kind: its type in TensorRT, "" where the engine does not say.
        ms: milliseconds of a run, the mean; None where it was not timed.
        median_ms: likewise, the median.
        share: of the sum of all layers, from 0 to 1.
        precision: see :func:`onnxcomp.deploy.profile.precision.precision`.
        reads, writes: formats of its first input and output, in TensorRT's words.
        shape: of its first output.
        nodes: names of the ONNX nodes that it holds; none for a reformat that TensorRT added.
        beside: for such a reformat, the nodes of the layer that it serves.
        main: the one of them that does the work, as far as is known.
        ends: whether ``nodes`` are only the first and the last of those it holds.
        tactic: its kernel.
        multiplies: whether it is a convolution or a product.
        reformat: whether it only brings a tensor into another type or layout.
        float_output: whether it computes in INT8 and writes floats.
        sparse: whether its weights have the 2:4 pattern; None where it is not said.
        sparse_kernel: whether its kernel makes use of it; None where it is not said.
    """

    name: str
    kind: str = ""
    ms: float | None = None
    median_ms: float | None = None
    share: float | None = None
    precision: str = ""
    reads: str = ""
    writes: str = ""
    shape: tuple[int, ...] = ()
    nodes: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    main: str = ""
    ends: bool = False
    tactic: str = ""
    multiplies: bool = False
    reformat: bool = False
    float_output: bool = False
    sparse: bool | None = None
    sparse_kernel: bool | None = None


@dataclass(frozen=True)
class Totals:
    """Over all layers. Times are milliseconds of a run, shares are of their sum and from 0 to 1.

    Attributes:
        ms: sum of the layers, which is more than the GPU time of a run: each layer is timed alone.
        precisions: share by precision, reformats apart under "reformat", "" where it is not said.
        int8: share of the layers that compute in INT8; None where nothing is known of precisions.
        int8_products: the same, of the time of convolutions and products alone.
        reformats: how many layers only bring a tensor into another type or layout.
        reformats_ms: their time.
        float_outputs: how many compute in INT8 and write floats.
        sparse: layers whose weights have the 2:4 pattern; None where the engine does not say.
        sparse_kernels: layers with a sparse kernel; None where the engine does not say.
    """

    ms: float
    precisions: dict[str, float]
    int8: float | None
    int8_products: float | None
    reformats: int
    reformats_ms: float
    float_outputs: int
    sparse: int | None
    sparse_kernels: int | None


def totals_of(layers: Sequence[Layer]) -> Totals:
    """Sums over layers."""
    total = math.fsum(layer.ms or 0.0 for layer in layers)
    products = [layer for layer in layers if layer.multiplies]
    precisions: dict[str, float] = {}
    for layer in layers:
        key = "reformat" if layer.reformat else layer.precision
        precisions[key] = precisions.get(key, 0.0) + (layer.share or 0.0)
    reformats = [layer for layer in layers if layer.reformat]
    kernels = [layer.sparse_kernel for layer in layers if layer.sparse_kernel is not None]
    patterns = [layer.sparse for layer in layers if layer.sparse is not None]
    return Totals(
        ms=total,
        precisions=precisions,
        int8=_int8_share(layers),
        int8_products=_int8_share(products),
        reformats=len(reformats),
        reformats_ms=math.fsum(layer.ms or 0.0 for layer in reformats),
        float_outputs=sum(layer.float_output for layer in layers),
        sparse=sum(patterns) if patterns else None,
        sparse_kernels=sum(kernels) if kernels else None,
    )


def _int8_share(layers: Sequence[Layer]) -> float | None:
    total = math.fsum(layer.ms or 0.0 for layer in layers)
    if not total or not any(layer.precision for layer in layers):
        return None
    return math.fsum(layer.ms or 0.0 for layer in layers if layer.precision == "INT8") / total
