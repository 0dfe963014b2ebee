"""The pass ``prune`` during training: masks close on its schedule, by its criterion, and then stay."""

from __future__ import annotations

from collections.abc import Mapping

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.prune import Prune
from onnxcomp.passes.prune.masks import update
from onnxcomp.training.blocks import Array


class Pruning:
    """A :class:`onnxcomp.training.compression.Closing`.

    Args:
        model: compression form.
        parameters: the engine's live arrays by name.
        steps: of the whole run.
    """

    def __init__(self, model: Model, parameters: Mapping[str, Array], prune: Prune, steps: int) -> None:
        masks = graphs.masks(model.graph)
        self._weights = {name: parameters[name] for name in masks}
        self._masks = {name: parameters[mask.name] for name, mask in masks.items()}
        self._allocation = prune.allocation
        self._schedule = prune.schedule(steps)
        self.saliency: dict[str, Array] = {}

    def resume(self, done: int) -> None:
        pass

    def before_step(self, step: int) -> bool:
        if not self._schedule.is_due(step):
            return False
        update(self._weights, self._masks, self._schedule.sparsity(step), self._allocation)
        return True

    def after_gradients(self, step: int, gradients: Mapping[str, Array]) -> bool:
        return False
