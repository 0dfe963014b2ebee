"""PyTorch's AdaptiveAvgPool2d in the operators of ONNX, which has none like it."""

from __future__ import annotations

from onnxcomp.models.writer import Writer


def adaptive_average(net: Writer, x: str, size: int, grid: int) -> str:
    """Average (N, C, size, size) to (N, C, grid, grid) as PyTorch's AdaptiveAvgPool2d.

    Cell i is the mean of the pixels floor(i size / grid) to ceil((i + 1) size / grid), the end left out;
    on a map of one pixel that is a copy.
    """
    if size == grid:
        return x
    if size == 1:
        return net.node("Expand", "avgpool", [x, net.indices("avgpool.shape", (1, 1, grid, grid))])
    if size % grid == 0:
        side = [size // grid] * 2
        return net.node("AveragePool", "avgpool", [x], kernel_shape=side, strides=side)
    for axis, word in ((2, "rows"), (3, "columns")):
        x = _average(net, x, f"avgpool.{word}", axis, (size, grid))
    return x


def _average(net: Writer, x: str, name: str, axis: int, sizes: tuple[int, int]) -> str:
    """Average along one axis; ``sizes`` are before and after."""
    (size, grid), cells = sizes, []
    for i in range(grid):
        cell = f"{name}.{i}"
        start, end = i * size // grid, -(-(i + 1) * size // grid)
        edges = {"start": start, "end": end, "axis": axis}
        cut = [net.indices(f"{cell}.{key}", (value,)) for key, value in edges.items()]
        part = net.node("Slice", f"{cell}.cut", [x, *cut])
        cells.append(net.node("ReduceMean", cell, [part], axes=[axis], keepdims=1))
    return net.node("Concat", name, cells, axis=axis)
