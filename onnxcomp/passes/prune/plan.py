"""What pruning is to reach: which weights are ranked together, by how much, and in which pattern."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from onnxcomp import graphs
from onnxcomp.passes.prune.patterns import Pattern

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Group:
    """Weights that are ranked together.

    Attributes:
        names: of the weights; their order does not matter.
        sparsity: share of zeros at the end, over all of them.
        deviations: what the scores of each of ``names`` are divided by; empty for nothing.
    """

    names: tuple[str, ...]
    sparsity: float
    deviations: tuple[float, ...] = ()


@dataclass(frozen=True)
class Layout:
    """Where a weight has its channels.

    Attributes:
        outputs, inputs: axes; the axis of the inputs is summed over.
    """

    outputs: int
    inputs: int


def layout(weight: graphs.Weight) -> Layout:
    """The axes of a weight's output and input channels."""
    if weight.node.op in ("Conv", "ConvTranspose"):
        return Layout(weight.axis, 1 - weight.axis)
    rank = len(weight.tensor.shape)  # of a matrix, or of a batch of them
    return Layout(weight.axis, rank - 1 if weight.axis == rank - 2 else rank - 2)


@dataclass(frozen=True)
class Plan:
    """What to close in the end.

    Attributes:
        groups: no weight is in two of them.
        pattern: of all weights.
        layouts: where each weight has its channels; (0, 1) where nothing is said.
        left: why each other weight is left dense; ``""`` where options say so.
    """

    groups: tuple[Group, ...]
    pattern: Pattern
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all weights to be pruned."""
        return tuple(name for group in self.groups for name in group.names)

    def facing(self, name: str, values: Array) -> Array:
        """An array of the weight's shape as the pattern sees it: a view (outputs, inputs, ...)."""
        at = self.layouts.get(name, Layout(0, 1))
        if self.pattern.size == 1:  # positions count in the order of the file
            return values
        return np.moveaxis(values, (at.outputs, at.inputs), (0, 1))
