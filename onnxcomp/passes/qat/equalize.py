"""Equalisation: channels of one activation get like ranges, so that one scale serves them all.

Each channel is multiplied by a factor where it is made and divided by it where it is read, which changes
nothing in float arithmetic (Nagel et al. 2019, arXiv 1906.04721, section 4.1). Scales of weights are per
output channel and take the factor of the maker up for nothing; so the balance is not between two weights, as
in their eq. 11, but between the measured range of the activation and its reader's weight (Xiao et al. 2023,
SmoothQuant, arXiv 2211.10438, eq. 4, with alpha 0.5). Where every reader is a standalone BatchNormalization
or a depthwise convolution nothing is to be balanced: all channels get the same range. So a dense block
shares one scale without losing resolution.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_graphsurgeon as gs

from onnxcomp.model import Model
from onnxcomp.passes.base import Calibration
from onnxcomp.passes.channels.ids import FIXED, Array, Ids
from onnxcomp.passes.qat.channel_ranges import channel_ranges
from onnxcomp.passes.qat.scaling import Scaling, find, scale

Floats = npt.NDArray[np.float64]
LIMIT = 2.0**8
"""Factors lie between 1 / LIMIT and LIMIT."""
DEAD = 1e-6
"""Of the largest range in its group: below it a channel says nothing, and keeps its scale."""
BALANCE = 0.5


def equalize(model: Model, calibration: Calibration) -> tuple[str, ...]:
    """Scale channels, in place; the network computes the same up to float32 rounding.

    Args:
        model: float network, masks allowed, without Q/DQ.

    Returns:
        What was done, for the report.

    Raises:
        ModelError: an activation is not finite.
    """
    scaling = find(model.graph)
    tensors = _measured(scaling)
    if not tensors:
        return ("equalize: there is no channel that can be scaled",)
    ranges = channel_ranges(model, calibration, tensors, scaling.grids, scaling.size)
    factors = _factors(scaling, ranges)
    scale(scaling, factors)
    changed = factors[factors != 1]
    if not changed.size:
        return ("equalize: all channels have like ranges",)
    largest = float(np.exp(np.abs(np.log(changed)).max()))
    return (f"equalised {changed.size:,} channels, by factors of up to {largest:.3g}",)


def _measured(scaling: Scaling) -> list[str]:
    """What readers read; for a Concat its parts, which several Concats share."""
    found: dict[str, None] = {}

    def visit(tensor: gs.Tensor) -> None:
        if tensor.name not in scaling.grids:
            return
        if tensor.inputs and tensor.inputs[0].op == "Concat":
            for part in tensor.inputs[0].inputs:
                visit(part)
        else:
            found[tensor.name] = None

    for reader in scaling.readers:
        visit(reader.tensor)
    return list(found)


def _factors(scaling: Scaling, ranges: Floats) -> Floats:
    """The factor of each channel."""
    costs = _weight_ranges(scaling)
    groups = _groups(scaling)
    factors = np.ones(scaling.size)
    for group in np.unique(groups[groups != FIXED]):
        members = np.flatnonzero(groups == group)
        alive = members[ranges[members] > DEAD * ranges[members].max()]
        if alive.size > 1:
            factors[alive] = _balanced(ranges[alive], costs[alive])
    return factors


def _balanced(ranges: Floats, costs: Floats) -> Floats:
    """Factors of the channels of one group; their geometric mean is 1.

    Args:
        ranges: of the channels, above 0.
        costs: of the weights that read them, 0 where factors are free.
    """
    free = costs == 0
    target = np.where(free, 1.0, (np.maximum(costs, DEAD) * ranges) ** (1 - BALANCE))
    if not free.all():
        target[free] = target[~free].max()
    factors = target / ranges
    factors /= np.exp(np.log(factors).mean())
    return np.clip(factors, 1 / LIMIT, LIMIT)


def _weight_ranges(scaling: Scaling) -> Floats:
    """For each channel the largest weight that reads it, as a share of its output channel's largest."""
    found = np.zeros(scaling.size + 1)
    for reader in scaling.readers:
        if reader.weight is not None:
            values, table = np.abs(reader.weight.constant.values), reader.weight.table
            shared = tuple(axis for axis, size in enumerate(table.shape) if size == 1)
            np.maximum.at(found, table, values.max(axis=shared, keepdims=True))
    return found[:-1]


def _groups(scaling: Scaling) -> Array:
    """A number for each channel, the same for those that one reader reads: (size,), FIXED for none."""
    ids = Ids()
    numbers = ids.fresh(scaling.size)
    read = np.zeros(scaling.size, np.bool_)
    for reader in scaling.readers:
        channels = reader.channels[reader.channels != FIXED]
        ids.join(channels, channels[:1], "")
        read[channels] = True
    return np.where(read, ids.roots(numbers), FIXED)
