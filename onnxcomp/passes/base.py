"""What a pass is: a frozen dataclass whose fields are its options, and one method that rewrites."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Annotated, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs
from pydantic import BeforeValidator, Field

from onnxcomp import graphs
from onnxcomp.errors import PassError
from onnxcomp.histogram import Histogram
from onnxcomp.model import Model

Array = npt.NDArray[np.float32]


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Name = Annotated[str, Field(min_length=1)]
Names = Annotated[tuple[Name, ...], BeforeValidator(_as_tuple)]
"""Patterns, as a shell's, of weight or node names; a single one may stand alone."""


def excluded(weight: graphs.Weight, patterns: Sequence[str]) -> bool:
    """Whether the weight or its node matches one of the patterns."""
    return any(name == p or fnmatch(name, p) for p in patterns for name in (weight.name, weight.node.name))


def unmatched(graph: gs.Graph, patterns: Sequence[str]) -> str:
    """The first pattern that matches no weighted layer, or ``""``."""
    found = list(graphs.weights(graph))
    return next((p for p in patterns if not any(excluded(w, [p]) for w in found)), "")


class Calibration(Protocol):
    """Runs the network on real images and looks at its activations."""

    def observe(self, model: Model, tensors: Sequence[str]) -> dict[str, Histogram]:
        """Histogram of the absolute values of each named tensor."""


class Grams(Protocol):
    """Runs the network on real images and looks at what its layers compute with."""

    def grams(self, model: Model, layers: Sequence[graphs.Weight]) -> dict[str, Array]:
        """``X X^T`` of what each weight is multiplied with, summed over images and positions.

        Returns:
            By the weight's name float32 (groups, K, K): K is the number of inputs that one output sums over,
            in the order of the weight's elements (input channel, row, column).
        """


class Gradients(Protocol):
    """Runs the network forward and backward on labelled training images."""

    def per_batch(self, model: Model, names: Sequence[str]) -> Iterator[Mapping[str, Array]]:
        """Gradients of the mean cross-entropy of each small batch by the named weights.

        BatchNormalization stays in inference mode and no weight moves. Each item's arrays, float32 and
        of the weights' shapes, are written over by the next.
        """


@dataclass(frozen=True)
class Context:
    """What a pass may know besides the graph it edits.

    Attributes:
        original: the network before any pass, without masks and Q/DQ; the teacher.
        calibration, grams, gradients: None when no data was given.
        alignment: the target's kernels are fast at widths that are multiples of it; 1 when no target
            was given.
        applied: the passes before this one.
    """

    original: Model
    calibration: Calibration | None = None
    grams: Grams | None = None
    gradients: Gradients | None = None
    alignment: int = 1
    applied: tuple[Pass, ...] = ()


@dataclass(frozen=True)
class Change:
    """What a pass did.

    Attributes:
        modified: whether the graph differs from before.
        notes: one line each, for the report; reasons for what was left alone included.
    """

    modified: bool
    notes: tuple[str, ...] = field(default=())


class Pass(ABC):
    """One rewrite of the graph.

    A pass edits ``model`` in place, says what it did as a :class:`Change`, and never prints, saves
    or trains. Subclasses are frozen dataclasses.
    """

    name: ClassVar[str]
    follows: ClassVar[tuple[str, ...]]
    """Names of the passes that may have been applied before this one."""

    @abstractmethod
    def requires(self, model: Model, context: Context) -> None:
        """Raise :class:`PassError` if the pass cannot be applied here."""

    @abstractmethod
    def apply(self, model: Model, context: Context) -> Change:
        """Rewrite ``model`` in place."""

    @abstractmethod
    def ensures(self, model: Model) -> None:
        """Raise :class:`PassError` if the result is not what the pass promises."""

    def error(self, what: str, *, node: str = "", fix: str = "") -> PassError:
        """A refusal that names the pass, the node and the remedy."""
        return PassError(what, where=f"{self.name}: node {node}" if node else self.name, fix=fix)
