"""The pass ``channels`` on a schedule: masks close over whole channels, which ``finalize`` then cuts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.channels import Channels, masks, scores
from onnxcomp.training.blocks import Array
from onnxcomp.training.saliency import DECAY, STEPS

NAME = "channels"


class ChannelPruning:
    """A :class:`onnxcomp.training.compression.Closing`.

    Criteria that ask for gradients keep a running mean over training steps, from
    :data:`onnxcomp.training.saliency.STEPS` steps before the schedule begins to its end.

    Args:
        model: compression form.
        parameters: the engine's live arrays by name.
        steps: of the whole run.

    Attributes:
        saliency: the running mean, float32, one value a channel.
    """

    def __init__(self, model: Model, parameters: Mapping[str, Array], channels: Channels, steps: int) -> None:
        self._channels, self._graph = channels, model.graph
        self._selection = channels.selection(model)
        self._schedule = channels.make_schedule(steps)
        self._masks = {name: parameters[mask.name] for name, mask in graphs.masks(model.graph).items()}
        self._weights = {name: parameters[name] for name in self._masks}
        dependencies = self._selection.dependencies
        self._readers = [r for r in scores.readers(model.graph, dependencies) if r[0] in self._masks]
        self._statistic = scores.STATISTICS.get(channels.criterion)
        self._first = max(self._schedule.begin - STEPS, 0)
        self.saliency: dict[str, Array] = {}

    def resume(self, done: int) -> None:
        gathered = self._statistic is not None and self._first < done <= self._schedule.end
        self.saliency = self._empty() if gathered else {}

    def before_step(self, step: int) -> bool:
        if self._statistic is not None or not self._schedule.is_due(step):
            return False
        self._close(step)
        return True

    def after_gradients(self, step: int, gradients: Mapping[str, Array]) -> bool:
        if self._statistic is None or not self._first <= step <= self._schedule.end:
            return False
        self.saliency = self.saliency or self._empty()
        size = self._selection.dependencies.size
        gates = scores.gates(self._weights, gradients, self._readers, size)
        mean = self.saliency[NAME]
        mean *= np.float32(DECAY)
        mean += self._statistic(gates).astype(np.float32)
        due = self._schedule.is_due(step)
        if due:
            self._close(step)
        if step == self._schedule.end:
            self.saliency = {}
        return due

    def _empty(self) -> dict[str, Array]:
        return {NAME: np.zeros(self._selection.dependencies.size, np.float32)}

    def _close(self, step: int) -> None:
        dependencies = self._selection.dependencies
        closed = masks.closed(dependencies, self._masks)
        values = self._scores()
        gone = self._selection.choose(values, self._schedule.sparsity(step, 1.0), closed)
        if (
            gone is None
        ):  # what widths allow depends a little on the order; the pass found it enough for its own
            gone = self._selection.all_that_can(values, closed)
        masks.close(dependencies, self._masks, gone)

    def _scores(self) -> np.ndarray:
        dependencies = self._selection.dependencies
        if self._statistic is not None:
            return self.saliency[NAME].astype(np.float64)
        if self._channels.criterion == "random":
            return scores.random(dependencies, self._channels.seed)
        return scores.magnitude(self._graph, dependencies, self._weights)
