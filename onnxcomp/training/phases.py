"""What a step of training computes with, as a function of the step alone.

A training that distils in stages has other losses in each (:mod:`.stages`). In quantisation-aware training
weights or activations are not rounded before a share of the steps (Jacob et al. 2018, arXiv 1712.05877,
section 3.1: "disable activation quantization at the start"), and after another one BatchNormalization keeps
its running statistics (Krishnamoorthi 2018, arXiv 1806.08342, section 3.2.2). The graph differs, so an engine
is built for each phase, on the same arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxcomp import graphs, losses
from onnxcomp.model import Model, Role
from onnxcomp.training import quantization, stages
from onnxcomp.training.blocks import Array
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.engine import Engine, Hidden, Rewrite, StepResult
from onnxcomp.training.lowering.edit import drop_unread, settle, take_output
from onnxcomp.training.lowering.parameters import parameters_of
from onnxcomp.training.stages import Stages


@dataclass(frozen=True)
class Phase:
    """A part of the training.

    Attributes:
        weights, activations: whether their Q/DQ pairs round.
        statistics: whether BatchNormalization normalises with the batch and moves its running statistics.
        losses: output name and weight of each loss; None for those of the file.
    """

    weights: bool = True
    activations: bool = True
    statistics: bool = True
    losses: tuple[tuple[str, float], ...] | None = None

    def of(self, model: Model) -> Model:
        """A copy of ``model`` in compression form as it is in this phase."""
        model = model.copy()
        pairs = [pair for pair in graphs.quantizers(model.graph) if graphs.is_student(pair.quantize)]
        for pair in pairs:
            if not (self.activations if pair.weight is None else self.weights):
                result = pair.dequantize.outputs[0]
                if all(result is not output for output in model.graph.outputs):
                    graphs.rewire(result, pair.source, list(result.outputs))
                    take_output(pair.dequantize)
                    take_output(pair.quantize)
        settle(model.graph)
        if self.losses is not None:
            model.losses = dict(self.losses)
            losses.add_total(model)
            drop_unread(model.graph)
        if not self.statistics:
            model.roles = {name: role for name, role in model.roles.items() if role is not Role.STATISTIC}
        return model


@dataclass(frozen=True)
class Phases:
    """The phases of a run.

    Attributes:
        weights, activations: steps before which their pairs let values pass.
        statistics: step from which BatchNormalization keeps its running statistics.
        stages: which losses there are when.
    """

    weights: int
    activations: int
    statistics: int
    stages: Stages

    @classmethod
    def of(cls, model: Model, steps: int) -> Phases:
        """As the recipe of ``model`` says, for a run of ``steps`` steps."""
        options = quantization.options(model)
        return cls(
            round(options.begin_weights * steps),
            round(options.begin_activations * steps),
            round(options.freeze_bn * steps) if Role.STATISTIC in model.roles.values() else steps,
            Stages.of(model, steps),
        )

    def at(self, step: int) -> Phase:
        """The phase of ``step``, counted from 0."""
        losses = self.stages.at(step).losses
        return Phase(
            step >= self.weights,
            step >= self.activations,
            step < self.statistics,
            None if losses is None else tuple(losses.items()),
        )

    def differ(self, steps: int) -> bool:
        """Whether any of ``steps`` steps is other than the whole of the network in training."""
        return any(self.at(step) != Phase() for step in (0, steps - 1))


def lines(model: Model) -> list[str]:
    """What is not so in all of a training of ``model``, a line each."""
    options = quantization.options(model)
    found = stages.lines(model)
    found += [
        f"{what} are rounded after {share:.0%} of the steps"
        for what, share in (("weights", options.begin_weights), ("activations", options.begin_activations))
        if share
    ]
    if options.freeze_bn < 1 and Role.STATISTIC in model.roles.values():
        found.append(f"running statistics stay as they are after {options.freeze_bn:.0%} of the steps")
    return found


class PhasedEngine:
    """An :class:`onnxcomp.training.engine.Engine` that is built anew where a phase begins.

    Args:
        model: compression form.
        build: an engine for a network that binds the given parameters.
        step: to begin with.
    """

    def __init__(
        self,
        model: Model,
        phases: Phases,
        build: Callable[[Model, Mapping[str, Array]], Engine],
        step: int,
    ) -> None:
        self._model = model.copy()
        self._phases, self._build = phases, build
        self.parameters: Mapping[str, NDArray[np.float32]] = parameters_of(model)
        roles = (Role.TRAINABLE, Role.LEARNED_SCALE)
        self._movable = {name for name, role in model.roles.items() if role in roles}
        self._learned = {name for name, role in model.roles.items() if role is Role.LEARNED_SCALE}
        self.gradients: dict[str, NDArray[np.float32]] = {}
        self.trained: frozenset[str] = frozenset()
        self._phase: Phase | None = None
        self._engine: Engine | None = None
        self.begin(step)

    @property
    def hidden(self) -> Hidden:
        """See :attr:`onnxcomp.training.engine.Engine.hidden`: of the present phase."""
        return self._engine.hidden if self._engine is not None else {}

    @property
    def rewrites(self) -> Sequence[Rewrite]:
        """See :attr:`onnxcomp.training.engine.Engine.rewrites`: of the present phase."""
        return self._engine.rewrites if self._engine is not None else ()

    def begin(self, step: int) -> None:
        """See :meth:`onnxcomp.training.engine.Engine.begin`."""
        phase = self._phases.at(step)
        if phase == self._phase:
            return
        self._engine = None  # before another one needs the memory
        self._phase = phase
        self._engine = self._build(phase.of(self._model), self.parameters)
        self._engine.save(self._model)
        found = self._engine.gradients
        # Scales of pairs that do not round in this phase stay among what is trained: they do in another.
        self.trained = self._engine.trained | self._learned
        for name in self.parameters:
            if name in found:
                self.gradients[name] = found[name]
            elif name in (self._movable if self._phases.stages.several else self._learned):
                self.gradients[name] = np.zeros_like(self.parameters[name])

    def step(
        self, images: NDArray[np.float32], labels: NDArray[np.int64], hidden: Hidden | None = None
    ) -> StepResult:
        """See :meth:`onnxcomp.training.engine.Engine.step`."""
        assert self._engine is not None
        return self._engine.step(images, labels, hidden)

    def save(self, model: Model) -> None:
        """See :meth:`onnxcomp.training.engine.Engine.save`."""
        assert self._engine is not None
        self._engine.save(model)
        for name, constant in model.constants().items():
            if name in self.parameters:
                constant.values = self.parameters[name]


def build(model: Model, config: TrainConfig, steps: int, step: int, engine: Callable[..., Engine]) -> Engine:
    """The engine of a run of ``steps`` steps, ready for ``step``.

    Args:
        engine: as :func:`onnxcomp.training.engine.build`; the caller keeps weights projected.
    """
    options = {"batch_size": config.batch_size, "threads": config.threads, "projected": True}
    found = Phases.of(model, steps)
    if not found.differ(steps):
        return engine(model, **options)
    return PhasedEngine(model, found, lambda part, arrays: engine(part, **options, parameters=arrays), step)
