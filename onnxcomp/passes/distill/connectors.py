"""What makes two hidden tensors comparable: pooling to one size, a trained 1x1 convolution to one width.

Heo et al. 2019, arXiv 1811.03233, section 3.3 ("connector function": 1x1 convolution and batch
normalisation); the regressor of Romero et al. 2015, section 2.1. Connectors are named ``loss/connector/...``:
they are trained with the student and leave the network with the losses.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from onnxcomp.graphs import CONNECTOR_PREFIX, TEACHER_PREFIX
from onnxcomp.losses import add_node
from onnxcomp.passes.distill.pairing import Pair


@dataclass(frozen=True)
class Connected:
    """A pair of one size.

    Attributes:
        student, teacher: as the loss reads them.
        what: what stands between, in words; ``""`` for nothing.
    """

    student: gs.Variable
    teacher: gs.Variable
    what: str


def connect(graph: gs.Graph, name: str, pair: Pair, *, widths: bool = True) -> Connected:
    """Bring a pair to the smaller height and width of the two, and the student to the teacher's width.

    The larger one is averaged over windows (adaptive average pooling, as ``torch.nn.AdaptiveAvgPool2d``);
    one with positions beside one without is averaged over all of them.

    Args:
        name: of the loss and the pair, such as ``boundary/0``.
        widths: whether the widths must be equal; otherwise channels stay as they are.
    """
    student, teacher = pair.student, pair.teacher
    words = []
    own, other = list(student.shape[2:]), list(teacher.shape[2:])
    if own != other:
        size = [min(a, b) for a, b in zip(own, other, strict=True)] if own and other else []
        words.append(f"averaged to {_times(size or [1, 1])}")
        student = _resize(graph, f"{CONNECTOR_PREFIX}{name}/pool", student, size)
        teacher = _resize(graph, f"{TEACHER_PREFIX}loss/{name}/pool", teacher, size)
    if widths and student.shape[1] != teacher.shape[1]:
        words.append(f"1x1 convolution {student.shape[1]} to {teacher.shape[1]}")
        student = _widen(graph, f"{CONNECTOR_PREFIX}{name}", student, int(teacher.shape[1]))
    return Connected(student, teacher, ", ".join(words))


def _times(size: list[int]) -> str:
    return "x".join(map(str, size))


def _resize(graph: gs.Graph, name: str, tensor: gs.Variable, size: list[int]) -> gs.Variable:
    """``tensor`` averaged to (height, width) ``size``, or to (N, C) where that is empty."""
    now = list(tensor.shape[2:])
    if now == size:
        return tensor
    shape = [*tensor.shape[:2], *size]
    if not size:
        pooled = add_node(graph, "GlobalAveragePool", f"{name}/mean", [tensor])
        pooled.shape = [*shape, 1, 1]
        result = add_node(graph, "Flatten", name, [pooled], axis=1)
    elif all(a % b == 0 for a, b in zip(now, size, strict=True)):
        window = [a // b for a, b in zip(now, size, strict=True)]
        result = add_node(graph, "AveragePool", name, [tensor], kernel_shape=window, strides=window)
    else:
        columns = gs.Constant(f"{name}/columns", _windows(now[1], size[1]).T.copy())
        rows = gs.Constant(f"{name}/rows", _windows(now[0], size[0]))
        part = add_node(graph, "MatMul", f"{name}/part", [tensor, columns])
        part.shape = [*shape[:2], now[0], size[1]]
        result = add_node(graph, "MatMul", name, [rows, part])
    result.shape = shape
    return result


def _windows(before: int, after: int) -> NDArray[np.float32]:
    """Adaptive averages as a matrix (after, before): window i is floor(i b / a) to ceil((i + 1) b / a)."""
    matrix = np.zeros((after, before), np.float32)
    for index in range(after):
        start, stop = index * before // after, -(-(index + 1) * before // after)
        matrix[index, start:stop] = 1 / (stop - start)
    return matrix


def _widen(graph: gs.Graph, name: str, tensor: gs.Variable, width: int) -> gs.Variable:
    """A 1x1 convolution (a product, where there are no positions) without bias, and BatchNormalization."""
    before = int(tensor.shape[1])
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    # He et al. 2015, arXiv 1502.01852, eq. 10.
    values = (rng.standard_normal((width, before)) * np.sqrt(2 / before)).astype(np.float32)
    shape = [tensor.shape[0], width, *tensor.shape[2:]]
    if len(tensor.shape) == 4:
        weight = gs.Constant(f"{name}/weight", values.reshape(width, before, 1, 1))
        wide = add_node(graph, "Conv", f"{name}/conv", [tensor, weight], kernel_shape=[1, 1])
    else:
        wide = add_node(
            graph, "MatMul", f"{name}/product", [tensor, gs.Constant(f"{name}/weight", values.T.copy())]
        )
    wide.shape = shape
    one, zero = np.ones(width, np.float32), np.zeros(width, np.float32)
    start = {"gamma": one, "beta": zero, "mean": zero.copy(), "variance": one.copy()}
    inputs = [wide, *(gs.Constant(f"{name}/{key}", array) for key, array in start.items())]
    result = add_node(graph, "BatchNormalization", f"{name}/norm", inputs)
    result.shape = shape
    return result
