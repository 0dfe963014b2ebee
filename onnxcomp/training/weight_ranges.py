"""Weights and the scales of their Q/DQ pairs, kept in step: which of the two gives way.

``frozen`` scales follow the largest weight of their channel, or stay where calibration put them (of least
squared error) and the weights are brought into range, so that no weight clips during training. ``learned``
scales move by their gradients (LSQ: Esser et al. 2020, arXiv 1902.08153), weights beyond the range stay
there, and only what is saved is brought into range: INT8 Q/DQ, which has one integer more, then gives the
integers of training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.model import Model, Role
from onnxcomp.passes.qat.scales import weight_scale
from onnxcomp.training import quantization
from onnxcomp.training.blocks import Array

FLOOR = 2.0**-8
"""A learned scale never falls below this share of what it began with."""
MOST = 0.01
"""Share of itself by which a learned scale may change in a step."""


@dataclass(frozen=True)
class Ranged:
    """A quantised weight.

    Attributes:
        weight, scale: names.
        axis: of the channels.
    """

    weight: str
    scale: str
    axis: int


class WeightRanges:
    """Keeps arrays in place.

    Args:
        model: compression form, with the roles that training gave its scales.
    """

    def __init__(self, model: Model) -> None:
        options = quantization.options(model)
        self._levels = np.float32(quantization.levels(model))
        self._bits = options.weight_bits
        self._weights = [
            Ranged(pair.weight.name, pair.scale.name, pair.axis)
            for pair in _student(model)
            if pair.weight is not None
        ]
        self._learned = learned(model)
        self._follows = options.weights == "max"
        constants = model.constants() if self._learned else {}
        self._floors = {name: constants[name].values * np.float32(FLOOR) for name in self._learned}

    def settle(self, values: Mapping[str, Array], *, rounded: bool) -> None:
        """After a step. Twice does no more than once.

        Args:
            values: masked weights and scales, by name.
            rounded: whether training rounds weights in this phase; until then scales that will learn follow
                the weights as frozen ones do.
        """
        for one in self._weights:
            if self._follows and not (rounded and one.scale in self._learned):
                values[one.scale][...] = weight_scale(values[one.weight], one.axis, bits=self._bits)
            elif one.scale not in self._learned:
                self._project(values[one.weight], values[one.scale], one.axis)
        for name, floor in self._floors.items():
            np.maximum(values[name], floor, out=values[name])

    def finish(self, values: MutableMapping[str, Array]) -> None:
        """Bring weights whose scales learn into range: copies take the place of those arrays."""
        for one in self._weights:
            if one.scale in self._learned:
                values[one.weight] = values[one.weight].copy()
                self._project(values[one.weight], values[one.scale], one.axis)

    @property
    def finishes(self) -> bool:
        """Whether :meth:`finish` changes anything."""
        return any(one.scale in self._learned for one in self._weights)

    def _project(self, weight: Array, scale: Array, axis: int) -> None:
        limit = graphs.along(scale * self._levels, axis, weight.ndim)
        np.clip(weight, -limit, limit, out=weight)


class StepSizes:
    """The gradient scale of LSQ (section 2.2): ``g = 1 / sqrt(N Q_P)``.

    ``N`` is the number of weights with that scale, or of features of one image; ``Q_P`` the highest level.

    Args:
        model: compression form, with the roles that training gave its scales.
    """

    def __init__(self, model: Model) -> None:
        sizes: dict[str, float] = {}
        highest: dict[str, int] = {}
        wanted = learned(model)
        for pair in _student(model):
            name = pair.scale.name
            if name in wanted:
                sizes[name] = sizes.get(name, 0) + _size(pair) / max(pair.scale.values.size, 1)
                highest[name] = _highest(pair, quantization.levels(model))
        self.factors = {name: float(1 / np.sqrt(size * highest[name])) for name, size in sizes.items()}

    def __call__(self, gradients: Mapping[str, Array]) -> None:
        """Scale those of learned scales, in place."""
        for name, factor in self.factors.items():
            if name in gradients:
                np.multiply(gradients[name], np.float32(factor), out=gradients[name])

    @contextmanager
    def bounded(self, values: Mapping[str, Array]) -> Iterator[None]:
        """Keep what happens inside from moving a scale by more than :data:`MOST` of itself.

        The paper trains 8 bits with a tenth of the learning rate of 4 bits: a scale is then so small beside
        the weights that a step which suits these can make it many times larger, and a scale at which all
        weights round to 0 has no gradient that brings it back.
        """
        before = {name: values[name].copy() for name in self.factors}
        yield
        for name, old in before.items():
            np.clip(values[name], old * np.float32(1 - MOST), old * np.float32(1 + MOST), out=values[name])


def learned(model: Model) -> frozenset[str]:
    """The scales that learn, by name."""
    return frozenset(name for name, role in model.roles.items() if role is Role.LEARNED_SCALE)


def _student(model: Model) -> Iterator[graphs.Quantizer]:
    return (pair for pair in graphs.quantizers(model.graph) if graphs.is_student(pair.quantize))


def _size(pair: graphs.Quantizer) -> int:
    """Elements of a weight, or of an activation of one image; an unknown size counts 1."""
    shape = list(pair.source.shape or ())
    sizes = shape if pair.weight is not None else shape[1:]
    return prod(size if isinstance(size, int) else 1 for size in sizes)


def _highest(pair: graphs.Quantizer, levels: int) -> int:
    """The highest level; where none is above 0, the number of those below."""
    if pair.weight is not None:
        return levels
    zero: gs.Constant = pair.quantize.inputs[2]
    limits = np.iinfo(zero.dtype)
    point = int(zero.values)
    return int(limits.max) - point or point - int(limits.min)
