"""What pruning and quantisation ask of every training step.

Masks and weight scales are parameters that no gradient moves: before a step the masks follow the
recipe's schedule, after it pruned weights return to exactly 0 and each weight's scales follow its
values, so that quantisation never clips one. All of it is a function of the weights, the masks and
the step, so a resumed run needs nothing but those.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.prune import Prune
from onnxcomp.passes.prune.masks import sparsity_of, update
from onnxcomp.passes.qat.scales import weight_scale
from onnxcomp.training.blocks import Array


class Compression:
    """Keeps masks and weight scales in step with the weights.

    Args:
        model: compression form; its graph says which weight has which mask and scales.
        parameters: the engine's live arrays by name.
        prune: the recipe's pruning pass; None leaves the masks as they are.
        steps: of the whole run.
    """

    def __init__(
        self, model: Model, parameters: Mapping[str, Array], prune: Prune | None, steps: int
    ) -> None:
        self._parameters = parameters
        self._mask_of = {weight: mask.name for weight, mask in graphs.masks(model.graph).items()}
        self._masked = {weight: parameters[weight] for weight in self._mask_of}
        self._masks = {weight: parameters[mask] for weight, mask in self._mask_of.items()}
        self.mask_names = frozenset(self._mask_of.values())
        self._scales = [
            (pair.weight.name, pair.scale.name, pair.axis)
            for pair in graphs.quantizers(model.graph)
            if graphs.is_student(pair.quantize) and pair.weight is not None
        ]
        self._allocation = prune.allocation if prune else ""
        self._schedule = prune.schedule(steps) if prune else None
        self.sparsity = 0.0
        self.restore()

    def restore(self) -> None:
        """Bring everything in step with parameters written from outside (the file, a checkpoint)."""
        self.after_step()
        self.sparsity = sparsity_of(self._masks)

    def before_step(self, step: int) -> None:
        """Let the masks follow the schedule, in place; a pruned weight stays pruned."""
        if self._schedule is None or not self._schedule.is_due(step):
            return
        update(self._masked, self._masks, self._schedule.sparsity(step), self._allocation)
        self.restore()

    def after_step(self) -> None:
        """Return pruned weights to exactly 0 and let the scales follow. Twice does no more than once."""
        self.settle(self._parameters)

    def settle(self, values: Mapping[str, Array]) -> None:
        """The same for ``values``, in place: arrays of all the names that the engine has."""
        for weight, mask in self._mask_of.items():
            np.multiply(values[weight], values[mask], out=values[weight])
        for weight, scale, axis in self._scales:
            values[scale][...] = weight_scale(values[weight], axis)
