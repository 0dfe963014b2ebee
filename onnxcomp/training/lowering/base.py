"""What a lowering is: one exact rewrite on the way to the training form, and when it pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx

from onnxcomp.training.engine import Rewrite

if TYPE_CHECKING:
    from onnxcomp.training.lowering.parameters import Training


@dataclass(frozen=True)
class Lowering:
    """A rewrite of the training form before it is differentiated.

    Attributes:
        name: as ``train --explain`` prints it.
        when: which nodes it takes, and where it stays off because it does not pay; one line.
        rewrite: rewrites the graph of a training form in place; returns how many nodes it took.
    """

    name: str
    when: str
    rewrite: Callable[[Training], int]

    def run(self, training: Training) -> Rewrite:
        """Rewrite, and say what was done."""
        return Rewrite(self.name, self.when, self.rewrite(training))


@dataclass(frozen=True)
class GradientLowering:
    """A rewrite of the gradient graph, forward and backward nodes together.

    Attributes:
        name, when: as for :class:`Lowering`.
        rewrite: rewrites the graph in place; returns how many nodes it took.
    """

    name: str
    when: str
    rewrite: Callable[[onnx.GraphProto], int]

    def run(self, graph: onnx.GraphProto) -> Rewrite:
        """Rewrite, and say what was done."""
        return Rewrite(self.name, self.when, self.rewrite(graph))
