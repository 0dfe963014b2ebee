"""Take a fixed batch out of a network: out of the targets of its Reshape and Expand, and into its tokens.

An exporter leaves the batch in these targets, and gives a class token no Expand at a batch of 1. Where the
batch's axis goes is followed by shape inference with a symbol for its size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.graphs import free_name
from onnxcomp.model import Model
from onnxcomp.passes.distill.teachers.sizes import BATCH, Size, forget, infer


class Freeing:
    """One network on its way from batch ``old`` to any: its shapes are forgotten."""

    def __init__(self, model: Model, old: int) -> None:
        self.model, self.graph, self.old = model, model.graph, old
        self.before: dict[str, list[Size]] = {
            name: list(tensor.shape)
            for name, tensor in self.graph.tensors().items()
            if tensor.shape is not None
        }
        self.taken = set(self.graph.tensors())
        self.done: set[str] = set()

    def run(self) -> None:
        classes = self.model.num_classes
        forget(self.graph)
        self.model.image.shape = [BATCH, *self.model.image.shape[1:]]
        while True:  # each round frees at least one node
            known = infer(self.model)
            freed = [self._free(node, known) for node in list(self.graph.nodes) if node.name not in self.done]
            if not any(freed):
                break
        self.model.logits.shape = [BATCH, classes]
        self.graph.toposort()

    def _free(self, node: gs.Node, known: Mapping[str, Sequence[Size]]) -> bool:
        free = {"Reshape": self._reshape, "Expand": self._expand, "Concat": self._concat}.get(node.op)
        freed = free is not None and free(node, known)
        if freed:
            self.done.add(node.name)
        return freed

    def _reshape(self, node: gs.Node, known: Mapping[str, Sequence[Size]]) -> bool:
        """Target [..., old * k, ...] becomes [..., -1 (or 0), ...] where the batch's axis goes."""
        source, after = _sizes(node.inputs[0], known), self.before.get(node.outputs[0].name)
        axis = _batch_axis(source)
        if source is None or after is None or axis is None or not isinstance(node.inputs[1], gs.Constant):
            return False
        ahead = math.prod(size for size in source[:axis] if isinstance(size, int))
        place = _place(after, ahead, self.old)
        if place is None or _batch_axis(known.get(node.outputs[0].name)) is not None:
            return False
        target = [int(size) for size in node.inputs[1].values]
        factor = int(after[place]) // self.old  # type: ignore[arg-type]
        if target[place] != -1:
            same = place == axis and source[axis] == _symbol(factor)
            keeps = same and not node.attrs.get("allowzero", 0)
            target = target if keeps else [int(size) for size in after]  # type: ignore[arg-type]
            target[place] = 0 if keeps else -1
            node.inputs[1] = self._integers(f"{node.name}.shape", target)
        node.outputs[0].shape = [*after[:place], _symbol(factor), *after[place + 1 :]]
        return True

    def _expand(self, node: gs.Node, known: Mapping[str, Sequence[Size]]) -> bool:
        """What was spread over the batch stays one, and is broadcast where it meets an image."""
        source = _sizes(node.inputs[0], known)
        if not isinstance(node.inputs[1], gs.Constant) or not source:
            return False
        target = [int(size) for size in node.inputs[1].values]
        follows = _batch_axis(source) == 0
        if len(target) != len(source) or target[0] != self.old or not (follows or source[0] == 1):
            return False
        node.inputs[1] = self._integers(f"{node.name}.shape", [1, *target[1:]])
        return True

    def _concat(self, node: gs.Node, known: Mapping[str, Sequence[Size]]) -> bool:
        """Spread what does not depend on the image over the batch of what does."""
        sizes = [_sizes(tensor, known) for tensor in node.inputs]
        axes = {axis for shape in sizes if (axis := _batch_axis(shape)) is not None}
        if len(axes) != 1:
            return False
        (axis,) = axes
        freed = False
        for index, shape in enumerate(sizes):
            if shape and axis < len(shape) and shape[axis] == 1 and axis != node.attrs["axis"] % len(shape):
                node.inputs[index] = self._spread(
                    node.inputs[index], shape, axis, f"{node.name}.spread{index}"
                )
                freed = True
        return freed

    def _spread(self, tensor: gs.Tensor, shape: Sequence[Size], axis: int, name: str) -> gs.Tensor:
        parts: list[gs.Tensor] = [self._batch(name)]
        if axis:
            parts.insert(0, self._integers(f"{name}.ahead", [1] * axis))
        if axis + 1 < len(shape):
            parts.append(self._integers(f"{name}.behind", [1] * (len(shape) - axis - 1)))
        target = self._node("Concat", f"{name}.target", parts, np.int64, [len(shape)], axis=0)
        spread = [BATCH if place == axis else size for place, size in enumerate(shape)]
        return self._node("Expand", name, [tensor, target], np.float32, spread)

    def _batch(self, name: str) -> gs.Variable:
        shape = self._node("Shape", f"{name}.sizes", [self.model.image], np.int64, [4])
        first = self._integers(f"{name}.first", [0])
        return self._node("Gather", f"{name}.batch", [shape, first], np.int64, [1], axis=0)

    def _node(
        self, op: str, name: str, inputs: list[gs.Tensor], dtype: type, shape: list[Size], **attrs: object
    ) -> gs.Variable:
        output = gs.Variable(free_name(name, self.taken), dtype, shape)
        self.graph.nodes.append(gs.Node(op, output.name, dict(attrs), inputs, [output]))
        return output

    def _integers(self, name: str, values: Sequence[int]) -> gs.Constant:
        return gs.Constant(free_name(name, self.taken), np.array(values, np.int64))


def _sizes(tensor: gs.Tensor, known: Mapping[str, Sequence[Size]]) -> Sequence[Size] | None:
    return tensor.shape if isinstance(tensor, gs.Constant) else known.get(tensor.name)


def _symbol(factor: int) -> str:
    return BATCH if factor == 1 else f"{BATCH}*{factor}"


def _batch_axis(shape: Sequence[Size] | None) -> int | None:
    """The only axis whose size follows the batch, or None."""
    axes = [a for a, size in enumerate(shape or ()) if isinstance(size, str) and size.startswith(BATCH)]
    return axes[0] if len(axes) == 1 else None


def _place(shape: Sequence[Size], ahead: int, batch: int) -> int | None:
    """The axis of ``shape`` before which sizes multiply to ``ahead`` and which holds the batch."""
    product = 1
    for axis, size in enumerate(shape):
        if not isinstance(size, int):
            return None
        if product == ahead and size % batch == 0:
            return axis
        product *= size
    return None
