"""Exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from onnxcomp.errors import TrainingError
from onnxcomp.model import Model, Role
from onnxcomp.training.blocks import (
    Array,
    blocks,
    check_updatable,
    gather,
    line_aligned,
    places,
    scratch,
)
from onnxcomp.training.compression import Compression
from onnxcomp.training.flush import Flush
from onnxcomp.training.optim import restore

_TINY = 1e-30


class WeightAverage:
    """``average = decay * average + (1 - decay) * value`` after every update.

    Polyak & Juditsky 1992 in its exponential form; the same numbers as
    ``torch.optim.swa_utils.AveragedModel(multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)``:
    the first update copies.

    Args:
        parameters: the live float32 arrays to average, by name (see :func:`averaged`).
        decay: 0 to below 1.

    Raises:
        TrainingError: ``decay`` is out of range.
    """

    def __init__(self, parameters: Mapping[str, Array], decay: float) -> None:
        if not 0 <= decay < 1:
            raise TrainingError(f"{decay:g} is out of range", where="--ema", fix="give 0 to below 1")
        for name, array in parameters.items():
            check_updatable(name, array)
        self._decay = decay
        sizes = {name: array.size for name, array in parameters.items()}
        layout = blocks(sizes)
        total = line_aligned(layout[-1].place.stop if layout else 0)
        self.values: dict[str, Array] = {
            name: total[place].reshape(parameters[name].shape)
            for name, place in places(sizes, layout).items()
        }
        for name, array in parameters.items():
            self.values[name][...] = array
        self._parts = [(block, block.views(parameters), total[block.place]) for block in layout]
        self._updates = np.zeros((), np.int64)
        self._scratch = scratch(2)
        self._flush = Flush()

    def update(self) -> None:
        """Take the live values in."""
        self._updates += 1
        step, share = int(self._updates), 1 - self._decay
        for block, views, average in self._parts:
            live = gather(views, self._scratch[1])
            if step == 1:
                np.copyto(average, live)
                continue
            change = np.subtract(live, average, self._scratch[0, : live.size])
            np.multiply(change, share, change)
            np.add(average, change, average)
            if self._flush.is_due(block, step):
                self._flush(average, _TINY)

    def restart(self) -> None:
        """Forget what was: the next update copies."""
        self._updates[...] = 0

    def state_arrays(self) -> dict[str, Array]:
        """The live state: what a checkpoint must hold."""
        return {"updates": self._updates, **{f"average/{name}": a for name, a in self.values.items()}}

    def load(self, state: Mapping[str, Array]) -> None:
        """Take over a state written by :meth:`state_arrays`.

        Raises:
            CheckpointError: an array is missing or has another size.
        """
        restore(self.state_arrays(), state, "average")


def averaged(model: Model, parameters: Mapping[str, Array]) -> dict[str, Array]:
    """Those of ``parameters`` that are averaged: trainables, learned scales and running statistics.

    Masks and other scales are not: they follow from what is averaged (see :func:`settled`).
    """
    roles = (Role.TRAINABLE, Role.LEARNED_SCALE, Role.STATISTIC)
    return {name: array for name, array in parameters.items() if model.roles.get(name) in roles}


def settled(
    compression: Compression, parameters: Mapping[str, Array], averages: Mapping[str, Array]
) -> dict[str, Array]:
    """Every array of the network with ``averages`` in it: what is evaluated and saved.

    An average still remembers weights that were pruned since, and the scales belong to the live
    weights: here pruned weights are exactly 0 and the scales are those of the averaged weights.

    Args:
        compression: of the network.
        parameters: the engine's live arrays, left as they are.

    Returns:
        Copies, by the names of ``parameters``.
    """
    values = {name: averages.get(name, array).copy() for name, array in parameters.items()}
    compression.settle(values)
    compression.finish(values)
    return values
