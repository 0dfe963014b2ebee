"""Optimisers on live numpy arrays: in place, without allocating in the inner loop.

The formulas are PyTorch's, so published settings carry over. A step is bound by how often it walks over
the weights, so the moments are kept in the scale that saves a walk.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from onnxcomp.errors import CheckpointError
from onnxcomp.training.blocks import (
    Array,
    Block,
    blocks,
    check_updatable,
    gather,
    line_aligned,
    places,
    scatter,
    scratch,
)
from onnxcomp.training.flush import Flush
from onnxcomp.training.groups import Groups, Setting

Update = Callable[..., None]
"""``update(weights, gradient, *moments)`` of one block: flat views of one size, at most ``PIECE``."""


@dataclass(frozen=True)
class _Part:
    """A block, the weights in it (a view for each tensor), and its place in each moment."""

    block: Block
    weights: list[Array]
    moments: list[Array]


class Optimizer(ABC):
    """Updates parameters from gradients.

    Args:
        parameters: live float32 arrays by name, C-contiguous; updated in place. Leave out those that
            no gradient reaches: they would decay, which in PyTorch they do not.
        weight_decay: of the tensors that ``groups`` lets decay.
        groups: by default vectors (biases, scale and shift of normalisations) do not decay.
        undecayed: names of those that never decay.

    Raises:
        TrainingError: a pattern of ``groups`` matches nothing.
    """

    moments: ClassVar[dict[str, float]]
    """Name of each moment, and what is as good as 0 in it."""

    def __init__(
        self,
        parameters: Mapping[str, Array],
        *,
        weight_decay: float,
        groups: Groups | None = None,
        undecayed: Collection[str] = (),
    ) -> None:
        for name, values in parameters.items():
            check_updatable(name, values)
        settings = (groups or Groups()).settings(parameters, weight_decay, undecayed)
        layout, self._places = _layout(parameters, settings)
        end = max((part.place.stop for group in layout.values() for part in group), default=0)
        self._moments = {kind: line_aligned(end) for kind in self.moments}
        self._groups = {
            setting: [
                _Part(block, block.views(parameters), [m[block.place] for m in self._moments.values()])
                for block in group
            ]
            for setting, group in layout.items()
        }
        self._steps = np.zeros((), np.int64)
        self._scratch = scratch(3)
        self._flush = Flush()

    @property
    def names(self) -> frozenset[str]:
        """The parameters that a step moves; those with a learning rate of 0 are not among them."""
        return frozenset(self._places)

    def step(self, gradients: Mapping[str, Array], lr: float, momentum: float | None = None) -> None:
        """One update.

        Args:
            gradients: a float32 array of the same shape for each of :attr:`names`; not changed.
            lr: learning rate, before the factors of the groups.
            momentum: of this step, for AdamW its first beta; None for the one the optimiser was made with.
                Above 0 where it is not the same in all steps, below 1.
        """
        self._steps += 1
        self._begin(momentum)
        step = int(self._steps)
        for setting, parts in self._groups.items():
            update = self._rule(lr * setting.lr_scale, setting.weight_decay)
            for part in parts:
                weights = gather(part.weights, self._scratch[1])
                update(weights, gather(part.block.views(gradients), self._scratch[2]), *part.moments)
                scatter(weights, part.weights)
                if self._flush.is_due(part.block, step):
                    for moment, least in zip(part.moments, self.moments.values(), strict=True):
                        self._flush(moment, least)

    def state_arrays(self) -> dict[str, Array]:
        """The live state by ``moment/parameter``: what a checkpoint must hold."""
        return {"steps": self._steps} | {
            f"{kind}/{name}": array[place]
            for kind, array in self._moments.items()
            for name, place in self._places.items()
        }

    def load(self, state: Mapping[str, Array]) -> None:
        """Take over a state written by :meth:`state_arrays`.

        Raises:
            CheckpointError: an array is missing or has another size.
        """
        restore(self.state_arrays(), state, "optimiser")

    @abstractmethod
    def _begin(self, momentum: float | None) -> None:
        """What is computed once for all parameters of a step."""

    @abstractmethod
    def _rule(self, lr: float, decay: float) -> Update:
        """The update of this step for a group."""


class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as ``torch.optim.SGD``.

    ``g += decay * w; v = momentum * v + g; w -= lr * (g + momentum * v)`` with Nesterov momentum
    (Sutskever et al. 2013, in PyTorch's form), ``w -= lr * v`` without.

    With Nesterov momentum the state holds ``momentum * v``, the product that this step and the next
    one both need.
    """

    moments: ClassVar[dict[str, float]] = {"velocity": 1e-30}

    def __init__(
        self,
        parameters: Mapping[str, Array],
        *,
        momentum: float = 0.9,
        nesterov: bool = True,
        weight_decay: float = 1e-4,
        groups: Groups | None = None,
        undecayed: Collection[str] = (),
    ) -> None:
        super().__init__(parameters, weight_decay=weight_decay, groups=groups, undecayed=undecayed)
        self._default = momentum
        self._nesterov = nesterov
        self._momentum = np.zeros((), np.float64)

    def state_arrays(self) -> dict[str, Array]:
        return {"momentum": self._momentum, **super().state_arrays()}

    def _begin(self, momentum: float | None) -> None:
        previous = float(self._momentum)
        self._momentum[...] = self._default if momentum is None else momentum
        changed = self._nesterov and previous and previous != self._momentum
        self._correction = float(self._momentum) / previous if changed else 1.0

    def _rule(self, lr: float, decay: float) -> Update:
        room, momentum, correction = self._scratch[0], float(self._momentum), self._correction

        def decayed(weights: Array, gradient: Array) -> Array:
            if not decay:
                return gradient
            total: Array = np.multiply(weights, decay, room[: weights.size])
            np.add(total, gradient, total)
            return total

        def nesterov(weights: Array, gradient: Array, velocity: Array) -> None:
            gradient = decayed(weights, gradient)
            if correction != 1.0:
                np.multiply(velocity, correction, velocity)
            np.add(velocity, gradient, velocity)
            np.multiply(velocity, momentum, velocity)
            change = np.add(gradient, velocity, room[: weights.size])
            np.multiply(change, lr, change)
            np.subtract(weights, change, weights)

        def plain(weights: Array, gradient: Array, velocity: Array) -> None:
            gradient = decayed(weights, gradient)
            np.multiply(velocity, momentum, velocity)
            np.add(velocity, gradient, velocity)
            change = np.multiply(velocity, lr, room[: weights.size])
            np.subtract(weights, change, weights)

        return nesterov if self._nesterov else plain


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), as ``torch.optim.AdamW``.

    The state holds the averages m and v of the gradients and their squares as m / (1 - beta1) and
    v / (1 - beta2), so that a gradient is added to them as it is.
    """

    moments: ClassVar[dict[str, float]] = {"mean": 1e-30, "square": 1e-36}

    def __init__(
        self,
        parameters: Mapping[str, Array],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        groups: Groups | None = None,
        undecayed: Collection[str] = (),
    ) -> None:
        super().__init__(parameters, weight_decay=weight_decay, groups=groups, undecayed=undecayed)
        self._betas = betas
        self._eps = eps
        self._beta = np.array(betas[0], np.float64)

    def state_arrays(self) -> dict[str, Array]:
        return {"beta": self._beta, **super().state_arrays()}

    def _begin(self, momentum: float | None) -> None:
        previous = float(self._beta)
        self._beta[...] = self._betas[0] if momentum is None else momentum
        beta = float(self._beta)
        self._shrink = beta * (1 - previous) / (1 - beta)  # beta, where it is always the same

    def _rule(self, lr: float, decay: float) -> Update:
        steps, beta, two = int(self._steps), float(self._beta), self._betas[1]
        root = math.sqrt((1 - two) / (1 - two**steps))
        size, eps = lr * (1 - beta) / (1 - beta**steps) / root, self._eps / root
        room, shrink, keep = self._scratch[0], self._shrink, 1 - lr * decay

        def update(weights: Array, gradient: Array, mean: Array, square: Array) -> None:
            change = np.multiply(gradient, gradient, room[: weights.size])
            np.multiply(mean, shrink, mean)
            np.add(mean, gradient, mean)
            np.multiply(square, two, square)
            np.add(square, change, square)
            np.sqrt(square, change)
            np.add(change, eps, change)
            np.divide(mean, change, change)
            np.multiply(change, size, change)
            if keep != 1.0:
                np.multiply(weights, keep, weights)
            np.subtract(weights, change, weights)

        return update


def _layout(
    parameters: Mapping[str, Array], settings: Mapping[str, Setting]
) -> tuple[dict[Setting, list[Block]], dict[str, slice]]:
    """Blocks of tensors that have one setting, and where each tensor lies in their moments."""
    sizes = {name: array.size for name, array in parameters.items() if settings[name].lr_scale > 0}
    layout: dict[Setting, list[Block]] = {}
    found: dict[str, slice] = {}
    end = 0
    for setting in dict.fromkeys(settings[name] for name in sizes):
        group = {name: size for name, size in sizes.items() if settings[name] == setting}
        layout[setting] = blocks(group, end)
        end = layout[setting][-1].place.stop
        found.update(places(group, layout[setting]))
    return layout, found


def restore(live: Mapping[str, Array], saved: Mapping[str, Array], what: str) -> None:
    """Write ``saved`` into the arrays of the same names in ``live``.

    Args:
        what: whose state it is, for the message.

    Raises:
        CheckpointError: an array is missing or has another size.
    """
    for name, array in live.items():
        if name not in saved or saved[name].shape != array.shape:
            raise CheckpointError(
                f"has no {what} state {name} of shape {array.shape}",
                where="checkpoint",
                fix="train again in another run directory",
            )
        array[...] = saved[name]
