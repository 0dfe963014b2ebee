"""The pass ``prune`` during training: masks close on its schedule, by its criterion, and then stay."""

from __future__ import annotations

from collections.abc import Mapping

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.prune import Prune, criteria
from onnxcomp.passes.prune.masks import update
from onnxcomp.training import saliency
from onnxcomp.training.blocks import Array
from onnxcomp.training.saliency import Saliency


class Pruning:
    """A :class:`onnxcomp.training.compression.Closing`.

    Criteria of the weights alone close masks before a step. Those that ask for gradients do so when the
    gradients of the step are known, so that there are some at the first step already; they are gathered from
    :data:`onnxcomp.training.saliency.STEPS` steps before the schedule begins to its end. Masks that `apply`
    closed fully stay as they are.

    Args:
        model: compression form.
        parameters: the engine's live arrays by name.
        steps: of the whole run.
    """

    def __init__(self, model: Model, parameters: Mapping[str, Array], prune: Prune, steps: int) -> None:
        self._prune = prune
        self._plan = prune.plan(model)
        self._schedule = prune.over(steps)
        masks = graphs.masks(model.graph)
        self._weights = {name: parameters[name] for name in self._plan.names}
        self._masks = {name: parameters[masks[name].name] for name in self._plan.names}
        self._statistic = criteria.STATISTICS.get(prune.criterion)
        self._first = max(self._schedule.begin - saliency.STEPS, 0)
        self._saliency: Saliency | None = None

    @property
    def saliency(self) -> Mapping[str, Array]:
        return {} if self._saliency is None else self._saliency.values

    def resume(self, done: int) -> None:
        gathered = self._statistic is not None and not self._prune.at_once
        self._saliency = self._empty() if gathered and self._first < done <= self._schedule.end else None

    def before_step(self, step: int) -> bool:
        if self._prune.at_once or self._statistic is not None or not self._schedule.is_due(step):
            return False
        self._close(step)
        return True

    def after_gradients(self, step: int, gradients: Mapping[str, Array]) -> bool:
        if self._prune.at_once or self._statistic is None:
            return False
        if not self._first <= step <= self._schedule.end:
            return False
        self._saliency = self._saliency or self._empty()
        self._saliency.add(gradients, step)
        due = self._schedule.is_due(step)
        if due:
            self._close(step)
        if step == self._schedule.end:
            self._saliency = None
        return due

    def _close(self, step: int) -> None:
        update(self._plan, self._score, self._masks, self._schedule, step)

    def _score(self, name: str) -> Array:
        known = self.saliency.get(name)
        return criteria.score(
            self._prune.criterion, name, self._weights[name], mean=known, seed=self._prune.seed
        )

    def _empty(self) -> Saliency:
        assert self._statistic is not None
        return Saliency(self._statistic, {name: array.shape for name, array in self._weights.items()})
