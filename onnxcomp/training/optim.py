"""Optimisers on live numpy arrays: in place, without allocating in the inner loop.

The formulas are PyTorch's, so published settings carry over. Each tensor is walked in pieces that
stay in the cache, because a step is bound by memory, not by arithmetic.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcomp.errors import CheckpointError

Array = NDArray[Any]
PIECE = 1 << 15  # float32 values: five pieces are 640 KiB, within a core's second-level cache


class Optimizer(ABC):
    """Updates parameters from gradients.

    Args:
        parameters: live float32 arrays by name, C-contiguous; updated in place.
        weight_decay: of matrices and kernels. Vectors (biases and the scales of normalisation,
            also those of shape (1, C, 1, 1)) are not decayed, which is the usual grouping.
    """

    moments: tuple[str, ...] = ()

    def __init__(self, parameters: Mapping[str, Array], *, weight_decay: float) -> None:
        self._weights = {name: _flat(name, value) for name, value in parameters.items()}
        self._decay = {name: 0.0 if _is_vector(v) else weight_decay for name, v in parameters.items()}
        self._moments = {
            kind: {name: np.zeros_like(value) for name, value in self._weights.items()}
            for kind in self.moments
        }
        self._scratch = np.empty((2, PIECE), np.float32)

    def step(self, gradients: Mapping[str, Array], lr: float) -> None:
        """One update; ``gradients`` has a float32 array of the same shape for every parameter."""
        self._begin(lr)
        for name, weights in self._weights.items():
            gradient = gradients[name].reshape(-1)
            moments = [self._moments[kind][name] for kind in self.moments]
            for start in range(0, weights.size, PIECE):
                piece = slice(start, start + PIECE)
                self._update(
                    weights[piece], gradient[piece], *(m[piece] for m in moments), decay=self._decay[name]
                )

    def state_arrays(self) -> dict[str, Array]:
        """The live state by ``moment/parameter``: what a checkpoint must hold."""
        return {
            f"{kind}/{name}": array
            for kind, arrays in self._moments.items()
            for name, array in arrays.items()
        }

    def load(self, state: Mapping[str, Array]) -> None:
        """Take over a state written by :meth:`state_arrays`.

        Raises:
            CheckpointError: an array is missing or has another size.
        """
        for name, array in self.state_arrays().items():
            if name not in state or state[name].shape != array.shape:
                raise CheckpointError(
                    f"has no optimiser state {name} of shape {array.shape}",
                    where="checkpoint",
                    fix="train again in another run directory",
                )
            array[...] = state[name]

    def _begin(self, lr: float) -> None:
        """What is computed once for all parameters of a step."""
        self._lr = lr

    @abstractmethod
    def _update(self, weights: Array, gradient: Array, *moments: Array, decay: float) -> None:
        """Update one piece of one parameter (flat views of equal size, at most ``PIECE``)."""


class SGD(Optimizer):
    """Stochastic gradient descent with Nesterov momentum, as ``torch.optim.SGD(nesterov=True)``.

    Sutskever et al. 2013, in PyTorch's form: ``g += decay * w; v = momentum * v + g;
    w -= lr * (g + momentum * v)``.
    """

    moments = ("momentum",)

    def __init__(
        self, parameters: Mapping[str, Array], *, momentum: float = 0.9, weight_decay: float = 1e-4
    ) -> None:
        super().__init__(parameters, weight_decay=weight_decay)
        self._momentum = momentum

    def _update(self, weights: Array, gradient: Array, *moments: Array, decay: float) -> None:
        (velocity,) = moments
        first, second = self._scratch[:, : weights.size]
        if decay:
            np.multiply(weights, decay, out=first)
            np.add(first, gradient, out=first)
            gradient = first
        np.multiply(velocity, self._momentum, out=velocity)
        np.add(velocity, gradient, out=velocity)
        np.multiply(velocity, self._momentum, out=second)
        np.add(second, gradient, out=second)
        np.multiply(second, self._lr, out=second)
        np.subtract(weights, second, out=weights)


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, algorithm 2), as ``torch.optim.AdamW``."""

    moments = ("first", "second")

    def __init__(
        self,
        parameters: Mapping[str, Array],
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(parameters, weight_decay=weight_decay)
        self._betas = betas
        self._eps = eps
        self._steps = np.zeros((), np.int64)

    def state_arrays(self) -> dict[str, Array]:
        return {"steps": self._steps, **super().state_arrays()}

    def _begin(self, lr: float) -> None:
        super()._begin(lr)
        self._steps += 1
        steps = int(self._steps)
        self._step_size = lr / (1 - self._betas[0] ** steps)
        self._root = math.sqrt(1 - self._betas[1] ** steps)

    def _update(self, weights: Array, gradient: Array, *moments: Array, decay: float) -> None:
        mean, square = moments
        one, two = self._betas
        first, _ = self._scratch[:, : weights.size]
        if decay:
            np.multiply(weights, 1 - self._lr * decay, out=weights)
        np.multiply(mean, one, out=mean)
        np.multiply(gradient, 1 - one, out=first)
        np.add(mean, first, out=mean)
        np.multiply(square, two, out=square)
        np.multiply(gradient, gradient, out=first)
        np.multiply(first, 1 - two, out=first)
        np.add(square, first, out=square)
        np.sqrt(square, out=first)
        np.divide(first, self._root, out=first)
        np.add(first, self._eps, out=first)
        np.divide(mean, first, out=first)
        np.multiply(first, self._step_size, out=first)
        np.subtract(weights, first, out=weights)


def _is_vector(values: Array) -> bool:
    """At most one axis is longer than 1."""
    return values.size <= max(values.shape, default=1)


def _flat(name: str, values: Array) -> Array:
    if not values.flags.c_contiguous or not values.flags.writeable or values.dtype != np.float32:
        raise ValueError(f"{name} must be a writable, contiguous float32 array to be updated in place")
    return values.reshape(-1)
