"""What pruning and quantisation ask of every training step.

Masks are parameters that no gradient moves: around a step they follow the schedules of the recipe's passes,
after it pruned weights return to exactly 0 and weights and their scales are brought in step (see
:mod:`onnxcomp.training.weight_ranges`). All of it is a function of the weights, the scales, the masks, the
step and, for criteria that ask for them, the gradients of the last steps.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Protocol

import numpy as np

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.prune.masks import sparsity_of
from onnxcomp.training.blocks import Array
from onnxcomp.training.weight_ranges import WeightRanges


class Closing(Protocol):
    """Closes masks, the engine's live arrays, on the schedule of one pass."""

    @property
    def saliency(self) -> Mapping[str, Array]:
        """Live arrays that it needs besides weights and masks to go on; none where it needs nothing."""

    def resume(self, done: int) -> None:
        """Hold what :attr:`saliency` has after ``done`` steps, to be written into."""

    def before_step(self, step: int) -> bool:
        """Close what is due and does not wait for the gradients of ``step``; whether there was something."""

    def after_gradients(self, step: int, gradients: Mapping[str, Array]) -> bool:
        """The same for what does. The gradients are the step's, before clipping, alike on all ranks."""


class Compression:
    """Keeps masks and weight scales in step with the weights.

    Args:
        model: compression form; its graph says which weight has which mask and scales.
        parameters: the engine's live arrays by name.
        closing: what closes masks; without any they stay as they are.
        rounded: whether training rounds weights in the present phase.

    Attributes:
        rounded: the same; may be changed.
    """

    def __init__(
        self,
        model: Model,
        parameters: Mapping[str, Array],
        closing: Sequence[Closing] = (),
        *,
        rounded: bool = True,
    ) -> None:
        self._parameters = parameters
        self._mask_of = {weight: mask.name for weight, mask in graphs.masks(model.graph).items()}
        self._masks = {weight: parameters[mask] for weight, mask in self._mask_of.items()}
        self.mask_names = frozenset(self._mask_of.values())
        self._ranges = WeightRanges(model)
        self.rounded = rounded
        self._closing = list(closing)
        self.sparsity = 0.0
        self.restore()

    @property
    def saliency(self) -> dict[str, Array]:
        """The live state that a checkpoint must hold besides the parameters."""
        return {name: array for one in self._closing for name, array in one.saliency.items()}

    def resume(self, done: int) -> None:
        """Let :attr:`saliency` be what it is after ``done`` steps, to be written into."""
        for one in self._closing:
            one.resume(done)

    def restore(self) -> None:
        """Bring everything in step with parameters written from outside (the file, a checkpoint)."""
        self.after_step()
        self.sparsity = sparsity_of(self._masks)

    def before_step(self, step: int) -> None:
        """Let the masks follow the schedules, in place; a pruned weight stays pruned."""
        closed = [one.before_step(step) for one in self._closing]
        if any(closed):
            self.restore()

    def after_gradients(self, step: int, gradients: Mapping[str, Array]) -> None:
        """The same for masks whose criterion asks for gradients."""
        closed = [one.after_gradients(step, gradients) for one in self._closing]
        if any(closed):
            self.restore()

    def after_step(self) -> None:
        """Return pruned weights to exactly 0, weights and scales in step. Twice does no more than once."""
        self.settle(self._parameters)

    def settle(self, values: Mapping[str, Array]) -> None:
        """The same for ``values``, in place: arrays of all the names that the engine has."""
        for weight, mask in self._mask_of.items():
            np.multiply(values[weight], values[mask], out=values[weight])
        self._ranges.settle(values, rounded=self.rounded)

    @property
    def finishes(self) -> bool:
        """Whether :meth:`finish` changes anything."""
        return self._ranges.finishes

    def finish(self, values: MutableMapping[str, Array]) -> None:
        """Turn settled ``values`` into what is evaluated and saved: copies take the place of what changes."""
        self._ranges.finish(values)
