"""Optimal Brain Surgeon for a network: how much of each layer goes, and each layer solved on real images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from onnxcomp import graphs
from onnxcomp.errors import PassError
from onnxcomp.model import Model
from onnxcomp.passes.base import Context
from onnxcomp.passes.layerwise import Layers, damped, matrix, stages, tensor
from onnxcomp.passes.prune import criteria, masks, obs
from onnxcomp.passes.prune.plan import Group, Plan

Array = npt.NDArray[np.float32]
BUDGET = 2**28
"""Elements of all Gram matrices held at a time (or one layer's): 1 GiB."""


def reconstruct(model: Model, plan: Plan, context: Context) -> tuple[str, ...]:
    """Close the masks of all weights of ``plan`` and let the weights that stay make up for it, in place.

    Where a group ranks several weights together, how much of each goes follows from the scores of Optimal
    Brain Damage: they are losses of the network, which compare between layers as errors of a layer's
    outputs do not. Without gradients in ``context`` the latter have to do. Which of a layer go is then the
    solver's choice.

    Every layer is solved for the inputs that the dense network gives it. Frantar & Alistarh (arXiv
    2301.00774, section 4) take those of the pruned one; with a thousand images, that made the
    accuracy of DenseNet201 lower, as layers then fit the errors that these images meet before them.

    Args:
        model: its weights have masks of ones; values of both are replaced.
        context: with Gram matrices; with gradients for the comparison of layers.

    Returns:
        Notes for the report.

    Raises:
        PassError: a weight has no Gram matrix.
    """
    dense = model.copy()
    layers = _layers(dense, plan)
    shares = _shares(dense, plan, context, layers)
    constants, closed = model.constants(), graphs.masks(model.graph)
    for name, gram in _grams(dense, context, layers):
        layer = layers[name][0]
        constants[name].values, closed[name].values = _solve(layer, gram, plan, shares[name])
    least, most = min(shares.values()), max(shares.values())
    return (f"{len(shares)} weights reconstructed; {least:.1%} to {most:.1%} of each are zero",)


def _layers(model: Model, plan: Plan) -> dict[str, list[graphs.Weight]]:
    found: dict[str, list[graphs.Weight]] = defaultdict(list)
    for weight in graphs.weights(model.graph):
        if weight.name not in plan.names:
            continue
        node, shape = weight.node, tuple(weight.tensor.shape)
        if node.op == "ConvTranspose" or (node.op != "Conv" and len(shape) > 2):
            raise PassError(
                f"criterion obs knows no {node.op} with a weight of shape {shape}",
                where=f"prune: node {node.name}",
                fix="name it in prune.exclude, or take another criterion",
            )
        found[weight.name].append(weight)
    return dict(found)


def _grams(model: Model, context: Context, layers: Layers) -> Iterator[tuple[str, Array]]:
    """Gram matrix of each weight, in graph order; the network runs once for as many as memory may hold."""
    assert context.grams is not None
    for names in stages(layers, BUDGET):
        found = context.grams.grams(model, [layer for name in names for layer in layers[name]])
        for name in names:
            yield name, found.pop(name)


def _solve(layer: graphs.Weight, gram: Array, plan: Plan, share: float) -> tuple[Array, Array]:
    """A new weight and its mask, of its shape, of which ``share`` is zero."""
    name, values = layer.name, layer.tensor.values
    mask = np.ones(values.shape, np.float32)

    def select(scores: Array, turn: int) -> Array:
        # Each round takes the same share of what is left.
        sparsity = 1 - (1 - share) ** ((turn + 1) / obs.ROUNDS)
        alone = Group((name,), share)
        masks.close(plan, alone, lambda _: tensor(layer, scores.copy()), {name: mask}, sparsity)
        return matrix(layer, mask)

    weight, _ = obs.prune(matrix(layer, values), gram, select)
    return tensor(layer, weight), mask


def _shares(model: Model, plan: Plan, context: Context, layers: Layers) -> dict[str, float]:
    """How much of each weight goes."""
    ranked = [g for g in plan.groups if len(g.names) > 1 and g.sparsity < plan.pattern.zeros]
    shares = {name: group.sparsity for group in plan.groups for name in group.names}
    if ranked:
        scores = _damages(model, context, layers) if context.gradients else _errors(model, context, layers)
        ones = {name: np.ones_like(values) for name, values in scores.items()}
        for group in ranked:
            masks.close(plan, group, lambda name: scores[name].copy(), ones, group.sparsity)
            shares |= {name: 1 - float(np.mean(ones[name], dtype=np.float64)) for name in group.names}
    return shares


def _damages(model: Model, context: Context, layers: Layers) -> dict[str, Array]:
    """Scores of Optimal Brain Damage."""
    assert context.gradients is not None
    means = criteria.mean_statistics("obd", context.gradients.per_batch(model, list(layers)))
    return {name: criteria.obd(layer.tensor.values, means[name]) for name, (layer, *_) in layers.items()}


def _errors(model: Model, context: Context, layers: Layers) -> dict[str, Array]:
    """Scores of Optimal Brain Surgeon, layer by layer."""
    found = {}
    for name, gram in _grams(model, context, layers):
        layer = layers[name][0]
        inverse = obs.inverse_diagonal(damped(gram))
        found[name] = tensor(layer, obs.saliency(matrix(layer, layer.tensor.values), inverse))
    return found
