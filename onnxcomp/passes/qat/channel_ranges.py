"""The largest magnitude of every channel, over real images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from onnxcomp.errors import ModelError
from onnxcomp.model import Model
from onnxcomp.passes.base import Calibration
from onnxcomp.passes.channels.ids import Array


def channel_ranges(
    model: Model, calibration: Calibration, tensors: Sequence[str], grids: Mapping[str, Array], count: int
) -> npt.NDArray[np.float64]:
    """Largest ``|x|`` of each channel in any of the tensors: float64 (count,), 0 where it is in none.

    One pass; memory is bounded by one batch of the tensors.

    Args:
        grids: by tensor name the number of each position's channel, below ``count``; -1 is passed over.
            Of the tensor's rank, with sizes of 1 along axes that all positions share.

    Raises:
        ModelError: an activation is not finite.
    """
    found = np.zeros(count + 1)
    for values in calibration.run(model, tensors):
        for name, array in values.items():
            grid = grids[name]
            shared = tuple(axis for axis, size in enumerate(grid.shape) if size == 1)
            largest = np.abs(array).max(axis=shared, keepdims=True)
            if not np.isfinite(largest).all():
                raise ModelError(
                    f"activation {name} is not finite", where="calibration", fix="check the weights"
                )
            np.maximum.at(found, grid, largest)
    return found[:-1]
