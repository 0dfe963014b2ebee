"""The student's images as a teacher wants them: normalised its way, of its size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.graphs import free_name
from onnxcomp.model import Model, Preprocessing


def take_images_of(model: Model, student: Model) -> list[str]:
    """Let ``model`` take the images of ``student``, in place; returns what had to be done to them.

    Values: ``x * std / std' + (mean - mean') / std'`` per channel, where both networks say how they
    normalise; otherwise the images as they are. Size: bilinear, pixels as areas (ONNX Resize: linear,
    half_pixel), without filtering.
    """
    own, given = model.preprocessing, student.preprocessing
    notes = []
    wanted = model.image
    now = [*wanted.shape[:2], *student.image_shape[1:]]
    chain = _Chain(model, gs.Variable(wanted.name, np.float32, now))
    if own is not None and given is not None and own != given:
        chain.normalise(given, own)
        notes.append("its images are normalised its way")
    if model.image_shape != student.image_shape:
        height, width = wanted.shape[2:]
        notes.append(f"its images are scaled from {now[2]}x{now[3]} to {height}x{width}")
        chain.resize(wanted.shape)
    chain.close(wanted)
    return notes


class _Chain:
    """Nodes between a new image input and what the network read so far."""

    def __init__(self, model: Model, image: gs.Variable) -> None:
        self.model, self.image, self.end = model, image, image
        self.nodes: list[gs.Node] = []
        self.tensors = set(model.graph.tensors())
        self.names = {node.name for node in model.graph.nodes}

    def add(self, op: str, name: str, inputs: Sequence[gs.Tensor], **attrs: object) -> None:
        output = gs.Variable(free_name(name, self.tensors), np.float32, self.end.shape)
        node = gs.Node(op, free_name(name, self.names), dict(attrs), [self.end, *inputs], [output])
        self.nodes.append(node)
        self.end = output

    def constant(self, name: str, values: np.ndarray) -> gs.Constant:
        return gs.Constant(free_name(name, self.tensors), values.astype(np.float32))

    def normalise(self, old: Preprocessing, new: Preprocessing) -> None:
        """From ``(value - old.mean) / old.std`` to ``(value - new.mean) / new.std``."""
        scale = np.array(old.std) / np.array(new.std)
        shift = (np.array(old.mean) - np.array(new.mean)) / np.array(new.std)
        for op, name, values in (("Mul", "scale", scale), ("Add", "shift", shift)):
            constant = self.constant(f"adapt/normalise/{name}.values", values.reshape(1, -1, 1, 1))
            self.add(op, f"adapt/normalise/{name}", [constant])

    def resize(self, shape: Sequence[int]) -> None:
        pairs = zip(self.end.shape[2:], shape[2:], strict=True)
        factors = np.array([1, 1, *(_factor(old, new) for old, new in pairs)], np.float32)
        scales = self.constant("adapt/resize.scales", factors)
        self.add(
            "Resize", "adapt/resize", [gs.Variable.empty(), scales],
            mode="linear", coordinate_transformation_mode="half_pixel",
        )  # fmt: skip
        self.end.shape = list(shape)

    def close(self, wanted: gs.Variable) -> None:
        graph = self.model.graph
        graph.inputs = [self.image]
        if not self.nodes:
            self.image.shape = wanted.shape
        for node in graph.nodes:
            for index, tensor in enumerate(node.inputs):
                if tensor is wanted:
                    node.inputs[index] = self.end
        graph.nodes = [*self.nodes, *graph.nodes]


def _factor(old: int, new: int) -> np.float32:
    """The float32 factor by which ``old`` becomes ``new`` when it is multiplied in float32 and cut."""
    factor = np.float32(new / old)
    while np.float32(old) * factor < new:
        factor = np.nextafter(factor, np.float32(np.inf))
    return factor
