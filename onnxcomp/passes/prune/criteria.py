"""What a weight is worth: small functions from a weight, and what is known of its gradients, to scores."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

STATISTICS: Mapping[str, Callable[[Array], Array]] = {"taylor": np.abs, "obd": np.square}
"""What a criterion wants the mean of, from a gradient, elementwise; the others ask for no gradients."""


def magnitude(weight: Array) -> Array:
    """``|w|`` (Han et al. 2015, arXiv 1506.02626)."""
    found: Array = np.abs(weight)
    return found


def taylor(weight: Array, mean_size: Array) -> Array:
    """``|w| E|g|``: the first-order change of the loss (Molchanov et al. 2017, arXiv 1611.06440, eq. 8)."""
    found: Array = np.abs(weight)
    found *= mean_size
    return found


def obd(weight: Array, mean_square: Array) -> Array:
    """``w^2 E[g^2] / 2``: Optimal Brain Damage (LeCun et al. 1989, eq. 5).

    The empirical Fisher information, whose diagonal is the mean square of single images' gradients, stands
    for the Hessian.
    """
    found: Array = np.square(weight)
    found *= mean_square
    found *= np.float32(0.5)
    return found


def random(weight: Array, name: str, seed: int) -> Array:
    """Uniform in (0, 1], the same each time for a name and a seed, whatever other weights there are."""
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    found: Array = 1 - generator.random(weight.shape, np.float32)
    return found


def score(criterion: str, name: str, weight: Array, *, mean: Array | None = None, seed: int = 0) -> Array:
    """A weight's scores by magnitude, random, taylor or obd.

    Args:
        mean: of the criterion's statistic, where it has one; a factor common to all weights changes nothing.
        seed: of ``random``.

    Returns:
        A new float32 array of the weight's shape, none below 0; the smallest go first.

    Raises:
        ValueError: there is no such criterion, or its mean is not given.
    """
    if criterion == "random":
        return random(weight, name, seed)
    if criterion == "magnitude":
        return magnitude(weight)
    if mean is None or criterion not in STATISTICS:
        raise ValueError(f"{criterion} cannot score {name}: of gradients it has {mean}")
    return taylor(weight, mean) if criterion == "taylor" else obd(weight, mean)


def mean_statistics(criterion: str, batches: Iterable[Mapping[str, Array]]) -> dict[str, Array]:
    """The mean of the criterion's statistic over batches of gradients, by weight.

    Args:
        batches: as :meth:`onnxcomp.passes.base.Gradients.per_batch` gives them, at least one.
    """
    statistic = STATISTICS[criterion]
    sums: dict[str, Array] = {}
    count = 0
    for gradients in batches:
        count += 1
        for name, gradient in gradients.items():
            value = statistic(gradient)
            if name in sums:
                sums[name] += value
            else:
                sums[name] = value
    for total in sums.values():
        total /= np.float32(count)
    return sums
