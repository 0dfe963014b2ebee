"""Gradients and Gram matrices without running a network."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from onnxcomp import graphs
from onnxcomp.model import Model


class Gradients:
    """Normal gradients, the same each time for a name; of the weights' shapes and scales."""

    def __init__(self, batches: int = 3) -> None:
        self.batches = batches
        self.asked: list[str] = []

    def per_batch(self, model: Model, names: Sequence[str]) -> Iterator[Mapping[str, np.ndarray]]:
        self.asked += names
        constants = model.constants()
        for batch in range(self.batches):
            yield {
                name: np.random.default_rng([batch, zlib.crc32(name.encode())])
                .standard_normal(constants[name].shape)
                .astype(np.float32)
                for name in names
            }


class Grams:
    """Of random inputs."""

    def grams(self, model: Model, layers: Sequence[graphs.Weight]) -> dict[str, np.ndarray]:
        found = {}
        for layer in layers:
            shape = tuple(layer.tensor.shape)
            groups = int(layer.node.attrs.get("group", 1))
            inner = int(np.prod(shape)) // shape[layer.axis]
            rng = np.random.default_rng(zlib.crc32(layer.name.encode()))
            inputs = rng.standard_normal((groups, inner, 2 * inner)).astype(np.float32)
            found[layer.name] = inputs @ inputs.transpose(0, 2, 1)
        return found
