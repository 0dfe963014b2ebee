"""Gram matrices: what a layer multiplies its weight with, summed over images and positions.

A Gram matrix ``X X^T`` is, but for a factor, the Hessian of the squared error of the layer's outputs by the
weights of one output (Hassibi & Stork 1992; Frantar & Alistarh 2022, arXiv 2208.11580, eq. 1).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from onnxcomp import calibration, graphs
from onnxcomp.errors import ModelError
from onnxcomp.model import Model
from onnxcomp.shapes import shapes

if TYPE_CHECKING:
    import onnx_graphsurgeon as gs

    from onnxcomp.data import DataSet

Array = npt.NDArray[np.float32]
CHUNK = 2**24  # values of one unfolded piece: 64 MiB
ACTIVATIONS = 2**28  # values of all inputs that one run of the network gives: 1 GiB


@dataclass(frozen=True)
class ImageGrams:
    """Sums Gram matrices over batches of images.

    Attributes:
        batches: makes the batches anew, each float32 (B, C, H, W) as the network takes them.
        threads: of ONNX Runtime.
    """

    batches: Callable[[], Iterable[Array]]
    threads: int

    def grams(self, model: Model, layers: Sequence[graphs.Weight]) -> dict[str, Array]:
        """See :class:`onnxcomp.passes.base.Grams`; one pass over the images.

        A weight that several of ``layers`` share gets the sum over all of them. Memory is bounded by
        the matrices, the inputs of the layers (of one batch, in parts of at most 1 GiB or one image where
        the network takes any batch) and 64 MiB (or one unfolded image).

        Raises:
            ModelError: a layer has another kind of product than :func:`unfold` knows, or its inputs
                are not finite.
        """
        from onnxcomp import runtime

        sources = {layer.node.inputs[1 - layer.index].name for layer in layers} - {model.image.name}
        computed = sorted(sources)
        session = runtime.session(model, outputs=computed, threads=self.threads) if computed else None
        most = model.batch or images_at_once(model, computed)
        found: dict[str, Array] = {}
        for images in _parts(self.batches(), most):
            inputs = {model.image.name: images}
            if session is not None:
                inputs |= zip(computed, session.run(computed, inputs), strict=True)
            for layer in layers:
                gram = gram_of(layer, inputs[layer.node.inputs[1 - layer.index].name])
                if layer.name in found:
                    found[layer.name] += gram
                else:
                    found[layer.name] = gram
            del inputs  # before the next run makes as many
        for name, gram in found.items():
            if not np.isfinite(gram).all():
                raise ModelError(
                    f"the inputs of {name} are not finite", where="Gram", fix="check the weights"
                )
        return found


def from_data(model: Model, data: DataSet, *, images: int, threads: int) -> ImageGrams:
    """Of ``images`` training images, chosen as :func:`onnxcomp.calibration.from_data` does."""
    chosen = calibration.from_data(model, data, images=images, threads=threads)
    return ImageGrams(chosen.batches, threads)


def _parts(batches: Iterable[Array], most: int) -> Iterator[Array]:
    for batch in batches:
        for start in range(0, len(batch), most):
            yield batch[start : start + most]


def images_at_once(model: Model, tensors: Iterable[str]) -> int:
    """How many images have at most :data:`ACTIVATIONS` values in ``tensors``, at least one."""
    sizes = shapes(model.graph).sizes
    values = sum(math.prod(size or 1 for size in sizes.get(name, ())) for name in tensors)
    return max(1, ACTIVATIONS // max(values, 1))


def gram_of(layer: graphs.Weight, inputs: Array) -> Array:
    """``X X^T`` of one layer for one batch.

    Args:
        inputs: float32, what the layer's node reads beside the weight.

    Returns:
        float32 (groups, K, K), see :class:`onnxcomp.passes.base.Grams`.
    """
    parts: Iterator[Array] = (columns @ columns.transpose(0, 2, 1) for columns in unfold(layer, inputs))
    total = next(parts)
    for part in parts:
        total += part
    return total


def unfold(layer: graphs.Weight, inputs: Array) -> Iterator[Array]:
    """The columns that the weight is multiplied with, in pieces.

    Yields:
        float32 (groups, K, positions).

    Raises:
        ModelError: neither Conv nor Gemm nor a MatMul with a matrix.
    """
    node = layer.node
    if node.op == "Conv":
        yield from _unfold_conv(node, layer.tensor.shape, inputs)
        return
    if node.op not in ("Gemm", "MatMul") or len(layer.tensor.shape) != 2:
        raise ModelError(
            f"{node.op} {layer.name} of shape {tuple(layer.tensor.shape)} has no Gram matrix",
            where=f"node {node.name}",
            fix="exclude it",
        )
    # What is summed over is the last axis but for W X, and X^T W of Gemm.
    first = (node.op == "MatMul" and layer.index == 0) or bool(node.attrs.get("transA", 0))
    rows = np.moveaxis(inputs, -2, -1) if first else inputs
    yield rows.reshape(-1, rows.shape[-1]).T[None]


def _unfold_conv(node: gs.Node, shape: Sequence[int], inputs: Array) -> Iterator[Array]:
    channels, *sizes = inputs.shape[1:]
    inside, *kernel = (int(size) for size in shape[1:])
    strides = node.attrs.get("strides") or [1] * len(kernel)
    dilations = node.attrs.get("dilations") or [1] * len(kernel)
    pads = _pads(node, sizes, kernel, strides, dilations)
    taps = inside * math.prod(kernel)
    images = max(1, CHUNK // (channels * math.prod(kernel) * math.prod(sizes)))
    for start in range(0, len(inputs), images):
        # Channels first, so that a column's values lie side by side.
        part = np.pad(inputs[start : start + images].swapaxes(0, 1), [(0, 0), (0, 0), *pads])
        taken = []
        for at in np.ndindex(*kernel):
            steps = map(_steps, at, part.shape[2:], kernel, strides, dilations)
            taken.append(part[(slice(None), slice(None), *steps)])
        yield np.stack(taken, axis=1).reshape(channels // inside, taps, -1)


def _steps(at: int, size: int, kernel: int, stride: int, dilation: int) -> slice:
    """Where one position of the kernel lies along one axis, for each output."""
    last = size - dilation * (kernel - 1) - 1
    return slice(at * dilation, at * dilation + last + 1, stride)


def _pads(
    node: gs.Node,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
) -> list[tuple[int, int]]:
    """Zeros before and after each spatial axis; ``auto_pad`` by the specification of Conv."""
    mode, rank = node.attrs.get("auto_pad", "NOTSET"), len(kernel)
    if mode == "NOTSET":
        pads = list(node.attrs.get("pads") or [0] * 2 * rank)
        return list(zip(pads[:rank], pads[rank:], strict=True))
    found = []
    for size, width, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True):
        reach = (math.ceil(size / stride) - 1) * stride + dilation * (width - 1) + 1
        total = 0 if mode == "VALID" else max(0, reach - size)
        less, more = total // 2, total - total // 2
        found.append((less, more) if mode == "SAME_UPPER" else (more, less))
    return found
