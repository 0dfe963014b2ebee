"""What a weight becomes when it alone is pruned, by the functions of the pass ``prune``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.base import Context, Grams
from onnxcomp.passes.masking import insert_mask
from onnxcomp.passes.prune import criteria, masks
from onnxcomp.passes.prune.plan import Group, Plan
from onnxcomp.passes.prune.reconstruct import reconstruct
from onnxcomp.sensitivity.prune.way import Way
from onnxcomp.sources import Sources

Array = NDArray[np.float32]
GRAM_VALUES = 2**26
"""Values of the Gram matrices that are held, at most (or one layer's): 256 MiB."""


class Alone:
    """Prunes one weight at a time.

    Args:
        model: a student; it stays as it is.
        plan: of :meth:`Way.plan`.
        sources: with gradients or Gram matrices where the criterion asks for them.
    """

    def __init__(self, model: Model, way: Way, plan: Plan, sources: Sources) -> None:
        self._plan, self._prune = plan, way.prune
        self._weights = {name: tensor.values for name, tensor in model.constants().items()}
        self._means: Mapping[str, Array] = {}
        self._solver: _Solver | None = None
        if way.criterion in criteria.STATISTICS:
            assert sources.gradients is not None
            batches = sources.gradients.per_batch(model, plan.names)
            self._means = criteria.mean_statistics(way.criterion, batches)
        elif way.criterion == "obs":
            assert sources.grams is not None
            self._solver = _Solver(model, plan, sources.grams)

    def values(self, name: str, sparsity: float) -> Array:
        """The weight with a share of zeros, of which there are as many as the pass would make."""
        alone = replace(self._plan, groups=(Group((name,), sparsity),))
        if self._solver is not None:
            return self._solver.values(name, alone)
        weight = self._weights[name]
        mask = np.ones(weight.shape, np.float32)
        criterion, mean = self._prune.criterion, self._means.get(name)

        def score(name: str) -> Array:
            return criteria.score(criterion, name, weight, mean=mean, seed=self._prune.seed)

        masks.close(alone, alone.groups[0], score, {name: mask}, sparsity)
        found: Array = weight * mask
        return found


class _Solver:
    """Optimal Brain Surgeon, which lets the weights of a layer that stay make up for those that go."""

    def __init__(self, model: Model, plan: Plan, grams: Grams) -> None:
        self._model = model.copy()
        constants = self._model.constants()
        self._before = {name: constants[name].values for name in plan.names}
        for name in plan.names:
            insert_mask(self._model, constants[name])
        self._model.graph.toposort()
        self._constants = constants
        self._context = Context(model, grams=_HeldGrams(model, plan.names, grams))

    def values(self, name: str, alone: Plan) -> Array:
        constant, mask = self._constants[name], graphs.masks(self._model.graph)[name]
        reconstruct(self._model, alone, self._context)
        found: Array = constant.values * mask.values
        constant.values, mask.values = self._before[name], np.ones(mask.shape, np.float32)
        return found


class _HeldGrams:
    """Gram matrices of the dense network, of several layers at a time: it runs once for all of them."""

    def __init__(self, model: Model, names: Sequence[str], source: Grams) -> None:
        self._model, self._source = model, source
        self._waiting = list(names)
        self._held: dict[str, Array] = {}

    def grams(self, model: Model, layers: Sequence[graphs.Weight]) -> dict[str, Array]:
        wanted = {layer.name for layer in layers}
        if not wanted <= self._held.keys():
            self._held = {}
            self._held = self._source.grams(self._model, self._next(wanted))
        return {name: self._held[name] for name in wanted}

    def _next(self, wanted: set[str]) -> list[graphs.Weight]:
        """The uses of ``wanted`` and of as many weights behind them as there is room for."""
        uses: dict[str, list[graphs.Weight]] = {}
        for weight in graphs.weights(self._model.graph):
            uses.setdefault(weight.name, []).append(weight)
        first = min(self._waiting.index(name) for name in wanted)
        chosen, values = set(wanted), 0
        for name in self._waiting[first:]:
            values += gram_size(uses[name][0])
            if values > GRAM_VALUES and name not in wanted:
                break
            chosen.add(name)
        return [use for name in chosen for use in uses[name]]


def gram_size(weight: graphs.Weight) -> int:
    """Values of the Gram matrix of a weight's inputs."""
    shape = tuple(int(size) for size in weight.tensor.shape)
    if weight.node.op == "Conv":
        return int(weight.node.attrs.get("group", 1)) * math.prod(shape[1:]) ** 2
    return (math.prod(shape) // shape[weight.axis]) ** 2
