"""The 2:4 pattern: of four weights of neighbouring input channels at most two are not 0.

At each output and each position of a kernel by itself (TensorRT Developer Guide 8.5, 6.8).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

Array = NDArray[Any]
GROUP, KEPT = 4, 2


def by_channel(node: gs.Node, values: Array, *, outputs_first: bool) -> Array:
    """A view of a weight, of shape (groups, outputs of a group, inputs of a group, positions).

    Positions are those of the kernel; of a MatMul's batch of matrices each is one.

    Args:
        node: the Conv, ConvTranspose, Gemm or MatMul that computes with it.
        values: of the weight's shape, two axes at least.
        outputs_first: of a matrix, whether its rows are the output channels and not what is summed over.
    """
    shape = values.shape
    if node.op in ("Conv", "ConvTranspose"):
        groups = int(node.attrs.get("group", 1))
        grouped = values.reshape(groups, shape[0] // groups, shape[1], -1)
        return grouped if node.op == "Conv" else grouped.swapaxes(1, 2)
    matrices = values.reshape(-1, *shape[-2:])
    return matrices.transpose((1, 2, 0) if outputs_first else (2, 1, 0))[None]


def holds(weight: Array) -> bool:
    """Whether the pattern holds everywhere in a weight as :func:`by_channel` shows it."""
    alive = weight != 0
    if alive.shape[2] % GROUP or alive.size < 2 * int(np.count_nonzero(alive)):
        return False
    kept = sum(alive[:, :, start::GROUP].astype(np.uint8) for start in range(GROUP))
    return bool(np.max(kept, initial=0) <= KEPT)
