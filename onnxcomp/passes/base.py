"""What a pass is: a frozen dataclass whose fields are its options, and one method that rewrites."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from typing import Annotated, Any, ClassVar, Literal, Protocol

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs
from pydantic import BeforeValidator, Field

from onnxcomp import graphs
from onnxcomp.errors import PassError
from onnxcomp.model import Model
from onnxcomp.observed import Observed

Array = npt.NDArray[np.float32]
Placement = Literal["tensorrt", "ort-cpu"]


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
    """Runs networks on real images and looks at their activations."""

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class of each image, (N,), in the order of the images."""

    def observe(self, model: Model, tensors: Sequence[str], *, histogram: bool = True) -> dict[str, Observed]:
        """What each named tensor of ``model`` is on all images, in one pass.

        Args:
            histogram: count values too; ranges alone are found faster.
        """

    def run(self, model: Model, tensors: Sequence[str]) -> Iterator[Mapping[str, Array]]:
        """The named tensors, batch by batch, each time in the same order of the images.

        Q/DQ pairs round in float32; no integer kernel takes their place.
        """


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
        placement: where the target wants Q/DQ, as ``Target.placement`` names it.
        applied: the passes before this one.
    """

    original: Model
    calibration: Calibration | None = None
    grams: Grams | None = None
    gradients: Gradients | None = None
    alignment: int = 1
    placement: Placement = "tensorrt"
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
    precedes: ClassVar[tuple[str, ...]] = ()
    """Names of the passes that may come after this one though their ``follows`` does not know it."""

    def precheck(self, model: Model) -> None:  # noqa: B027  (most passes have nothing to say here)
        """Refuse what shows before any pass of the recipe has run, so that none works in vain.

        Args:
            model: as the recipe was given it; the passes before this one will have changed it.
        """

    @abstractmethod
    def requires(self, model: Model, context: Context) -> None:
        """Raise :class:`PassError` if the pass cannot be applied here."""

    @abstractmethod
    def apply(self, model: Model, context: Context) -> Change:
        """Rewrite ``model`` in place."""

    def rehearsal(self) -> Pass:
        """For ``--dry-run``: a pass that touches the same nodes without long looks at data, or itself.

        Which weights or channels of a layer go may differ, as scores do; how many do not.
        """
        return self

    @abstractmethod
    def ensures(self, model: Model) -> None:
        """Raise :class:`PassError` if the result is not what the pass promises."""

    def error(self, what: str, *, node: str = "", fix: str = "") -> PassError:
        """A refusal that names the pass, the node and the remedy."""
        return PassError(what, where=f"{self.name}: node {node}" if node else self.name, fix=fix)
