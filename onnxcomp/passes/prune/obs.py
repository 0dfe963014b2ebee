"""Optimal Brain Surgeon for one layer: remove weights, and let the others make up for them.

The layer's squared output error is ``tr(D G D^T) / 2``: D is the change of the weights and G the Gram matrix
of its inputs, the Hessian. Removing weight q costs ``w_q^2 / (2 [G^-1]_qq)`` and moves all others (Hassibi &
Stork 1992, eq. 5); after any number of removals with exact inverses, in whatever order, the weights that
stay are those of least error. Frantar & Alistarh (arXiv 2208.11580, 2301.00774) make this fast by an inverse
that all outputs share and by moving only the columns to the right. Here all move: conjugate gradients
solve for the optimum itself, every output at once, in a few products of matrices.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from onnxcomp.passes.layerwise import DAMPING, damped

Array = npt.NDArray[np.float32]
Select = Callable[[Array, int], Array]

ROUNDS = 5
"""How often the weights that go are chosen anew, from weights that have made up for those gone before."""
STEPS = 10
"""Of conjugate gradients a round; the last round takes twice as many."""
EXACT = 8192
"""Columns up to which the Hessian is inverted; beyond, 1 / [H^-1]_qq is taken for [H]_qq."""


def prune(
    weight: Array, gram: Array, select: Select, *, rounds: int = ROUNDS, damping: float = DAMPING
) -> tuple[Array, Array]:
    """Remove weights in rounds.

    Args:
        weight: float32 (groups, outputs, K); groups of one convolution, 1 for all else.
        gram: float32 (groups, K, K), of :class:`onnxcomp.passes.base.Grams`.
        select: given float32 scores like ``weight`` (what each removal costs) and the round, 0 to
            ``rounds - 1``, says which weights stay: float32 ones and zeros. A zero stays zero.
        damping: share of the mean diagonal that is added to the diagonal.

    Returns:
        The new weight, exactly 0 where its mask is, and its mask; float32 like ``weight``.
    """
    hessian = damped(gram, damping)
    inverse = inverse_diagonal(hessian)
    found = weight
    for turn in range(rounds):
        mask = select(saliency(found, inverse), turn)
        found = solve(weight, hessian, mask, found, steps=STEPS * (2 if turn == rounds - 1 else 1))
    return found, mask


def saliency(weight: Array, inverse: Array) -> Array:
    """What removing each weight alone costs when the others make up for it (Hassibi & Stork 1992, eq. 5).

    Args:
        weight: float32 (groups, outputs, K).
        inverse: float32 (groups, K), of :func:`inverse_diagonal`.

    Returns:
        float32 like ``weight``: half of the squared error that the layer's outputs gain, summed over
        all that the Gram matrix sums over.
    """
    return weight**2 / (2 * inverse[:, None, :])


def inverse_diagonal(hessian: Array) -> Array:
    """The diagonal of each inverse, float32 (groups, K); beyond :data:`EXACT`, that of each diagonal's."""
    if hessian.shape[1] > EXACT:
        return np.reciprocal(np.diagonal(hessian, axis1=1, axis2=2))
    inverse = np.linalg.inv(hessian.astype(np.float64))
    found: Array = np.diagonal(inverse, axis1=1, axis2=2).astype(np.float32)
    return found


def solve(weight: Array, hessian: Array, mask: Array, start: Array, *, steps: int) -> Array:
    """The weights within ``mask`` whose outputs are nearest to those of ``weight``.

    Conjugate gradients with the diagonal as preconditioner, for each output apart (Saad, Iterative
    Methods for Sparse Linear Systems, algorithm 9.1); each step lowers the error.

    Args:
        weight, mask, start: (groups, outputs, K).
        hessian: (groups, K, K), positive definite.
        start: where to begin; what ``mask`` closes is left out.
    """
    scale = mask / np.diagonal(hessian, axis1=1, axis2=2)[:, None, :]
    found = start * mask
    residual = ((weight - found) @ hessian) * mask
    direction = residual * scale
    energy = (residual * direction).sum(-1, keepdims=True)
    for _ in range(steps):
        image = (direction @ hessian) * mask
        step = _ratio(energy, (direction * image).sum(-1, keepdims=True))
        found += step * direction
        residual -= step * image
        preconditioned = residual * scale
        before, energy = energy, (residual * preconditioned).sum(-1, keepdims=True)
        direction = preconditioned + _ratio(energy, before) * direction
    return found


def _ratio(above: Array, below: Array) -> Array:
    """0 where ``below`` is: the output is solved, or has no weight left."""
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
