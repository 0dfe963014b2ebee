"""What a cut saves: multiply-accumulates as a function of the channels that stay."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.macs import macs
from onnxcomp.passes.channels.dependencies import Dependencies
from onnxcomp.passes.channels.ids import FIXED, Array
from onnxcomp.shapes import shapes


@dataclass(frozen=True, eq=False)
class Layer:
    """A weighted operator.

    Attributes:
        macs: for one image, as it is.
        axes: the channel of each position along each axis of its weight that holds channels.
    """

    macs: float
    axes: tuple[Array, ...]


class Work:
    """Multiply-accumulates of the student for one image.

    Raises:
        ValueError: the size of some operator's output is not known.
    """

    def __init__(self, graph: gs.Graph, dependencies: Dependencies) -> None:
        self._size = dependencies.size
        self._layers = []
        sizes = shapes(graph).sizes
        for weight in graphs.weights(graph):
            count = macs(weight, sizes)
            if count is None:
                raise ValueError(f"the output of {weight.node.name} has no known size")
            axes = dependencies.constants.get(weight.name, {})
            self._layers.append(Layer(count, tuple(axes.values())))

    def left(self, keep: np.ndarray) -> float:
        """What is left when only those numbers stay that ``keep``, shape (size + 1,), says."""
        return sum(
            layer.macs * float(np.prod([keep[numbers].mean() for numbers in layer.axes]))
            for layer in self._layers
        )

    def of_each(self) -> np.ndarray:
        """What the removal of each number alone saves; float64 (size,)."""
        saved = np.zeros(self._size + 1)
        for layer in self._layers:
            for numbers in layer.axes:
                np.add.at(saved, numbers, layer.macs / numbers.size)
        saved[FIXED] = 0
        return saved[:-1]
