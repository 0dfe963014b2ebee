"""One training step, and the state that it moves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from onnxcomp import recipe
from onnxcomp.errors import TrainingError
from onnxcomp.model import Model, Role
from onnxcomp.passes.channels import Channels
from onnxcomp.passes.prune import Prune
from onnxcomp.training import clip
from onnxcomp.training.average import WeightAverage, averaged, settled
from onnxcomp.training.blocks import Array
from onnxcomp.training.channel_pruning import ChannelPruning
from onnxcomp.training.checkpoint import Checkpoint
from onnxcomp.training.compression import Closing, Compression
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.engine import Engine
from onnxcomp.training.global_step import Batch, GlobalStep, Outcome
from onnxcomp.training.optim import restore
from onnxcomp.training.phases import Phases
from onnxcomp.training.pruning import Pruning
from onnxcomp.training.ranks import Alone, Ranks
from onnxcomp.training.weight_ranges import StepSizes, learned


class DivergedError(TrainingError):
    """A loss, a gradient or a weight is not a finite number."""


class Trainer:
    """Engine, optimiser, compression and averaged weights, moved together.

    Args:
        engine: made for ``model``; it may be promised projected weights.
        model: compression form.
        steps: of the whole run.
        ranks: the processes that train together.
    """

    def __init__(
        self, engine: Engine, model: Model, config: TrainConfig, steps: int, ranks: Ranks | None = None
    ) -> None:
        self._engine, self._config, self._steps = engine, config, steps
        self._ranks = ranks or Alone()
        self._schedule = config.make_schedule()
        self.parameters = engine.parameters
        self._undecayed = learned(model)
        self._step_sizes = StepSizes(model)
        self._phases = Phases.of(model, steps)
        closing = _closing(model, self.parameters, steps)
        rounded = self._phases.at(0).weights
        self._compression = Compression(model, self.parameters, closing, rounded=rounded)
        statistics = [self.parameters[name] for name, role in model.roles.items() if role is Role.STATISTIC]
        self._global_step = GlobalStep(engine, self._ranks, config.accumulate, statistics)
        self._average = (
            WeightAverage(averaged(model, self.parameters), config.ema) if config.ema is not None else None
        )
        self._begin_stage(0)

    @property
    def sparsity(self) -> float:
        """Share of the masked weights that is 0."""
        return self._compression.sparsity

    def lr(self, step: int) -> float:
        """Learning rate of step ``step``: each stage goes through the whole schedule."""
        stage = self._phases.stages.at(step)
        schedule = self._schedule if stage.lr is None else replace(self._schedule, peak=stage.lr)
        return schedule.lr(step - stage.start, stage.steps)

    def step(self, step: int, batches: Iterable[Batch]) -> Outcome:
        """Step ``step``, counted from 0: masks, losses, gradients, update, masks again, scales, average.

        Masks whose criterion asks for gradients follow the schedule when those of the step are known.

        Args:
            batches: this rank's micro-batches of the step.

        Raises:
            DivergedError: a loss or a gradient is not a finite number; nothing has moved the weights.
        """
        self._enter(step)
        self._compression.before_step(step)
        outcome = self._global_step(batches)
        self._step_sizes(self._global_step.gradients)
        size = self._norm(step, outcome)
        self._compression.after_gradients(step, self._global_step.gradients)
        self._clip(size)
        stage = self._phases.stages.at(step)
        momentum = self._schedule.momentum(step - stage.start, stage.steps)
        with self._step_sizes.bounded(self.parameters):
            self._optimizer.step(self._global_step.gradients, self.lr(step), momentum)
        self._compression.after_step()
        if self._average is not None:
            self._average.update()
        return replace(outcome, gradient_norm=size)

    def save(self, model: Model) -> None:
        """Write what is to be evaluated and deployed, the averaged weights if there are, into ``model``."""
        if self._average is not None:
            write(model, settled(self._compression, self.parameters, self._average.values))
            return
        self._engine.save(model)
        if self._compression.finishes:
            write(model, finished(self._compression, self.parameters))

    def state(self, done: int, window: Mapping[str, float]) -> Checkpoint:
        """The live state after ``done`` steps.

        Raises:
            DivergedError: a parameter is not finite, so it is no state to continue from.
        """
        for name, values in self.parameters.items():
            if not np.isfinite(values).all():
                raise self._diverged(f"{name} is no longer finite", done)
        masks = self._compression.mask_names
        return Checkpoint(
            done,
            {name: a.astype(np.bool_) if name in masks else a for name, a in self.parameters.items()},
            self._optimizer.state_arrays(),
            {} if self._average is None else self._average.state_arrays(),
            dict(window),
            self._compression.saliency,
        )

    def restore(self, saved: Checkpoint | None) -> None:
        """Take over a state that :meth:`state` gave, on rank 0 (None for the beginning), and share it.

        Raises:
            CheckpointError: it is of another network or optimiser.
        """
        done = self._ranks.share(saved.step if saved else 0)
        if saved is not None:
            saved.restore(self.parameters)
        self._enter(done)
        within = done > self._stage  # a stage that begins with the next step begins anew
        if saved is not None and within:
            self._optimizer.load(saved.optimizer)
            if self._average is not None:
                self._average.load(saved.average)
        average = {} if self._average is None else self._average.state_arrays()
        self._compression.resume(done)
        saliency = self._compression.saliency
        if saved is not None:
            restore(saliency, saved.saliency, "saliency")
        for arrays in (self.parameters, self._optimizer.state_arrays(), average, saliency):
            self._ranks.broadcast(arrays.values())
        self._compression.restore()

    def _enter(self, step: int) -> None:
        """Let all be as the phase of ``step`` wants it."""
        phase = self._phases.at(step)
        self._engine.begin(step)
        if self._phases.stages.at(step).start != self._stage:
            self._begin_stage(step)
        self._compression.rounded = phase.weights
        self._global_step.averages_statistics = phase.statistics

    def _begin_stage(self, step: int) -> None:
        """A fresh optimiser, for what the losses of the stage depend on, and a fresh average."""
        names = self._engine.gradients
        trained = {name: self.parameters[name] for name in names if name in self._engine.trained}
        self._optimizer = self._config.make_optimizer(trained, self._undecayed, names)
        if self._average is not None:
            self._average.restart()
        self._stage = self._phases.stages.at(step).start

    @property
    def _moved(self) -> dict[str, Array]:
        """Gradients of what the optimiser moves.

        In the order of the gradients, which every process has: their norm is a sum in this order.
        """
        moved = self._optimizer.names
        return {name: array for name, array in self._global_step.gradients.items() if name in moved}

    def _norm(self, step: int, outcome: Outcome) -> float:
        """The norm of the gradients, after checking that loss and gradients are numbers."""
        if not math.isfinite(outcome.losses["loss"]):
            raise self._diverged(f"the loss is {outcome.losses['loss']}", step + 1, outcome)
        gradients = self._moved
        size = clip.norm(gradients)
        if not math.isfinite(size):
            name = next(name for name, array in gradients.items() if not np.isfinite(array).all())
            raise self._diverged(f"the gradient of {name} is not finite", step + 1, outcome)
        return size

    def _clip(self, size: float) -> None:
        """Scale the gradients, whose norm is ``size``, down to the norm that is allowed."""
        if self._config.clip is not None and size > self._config.clip:
            clip.clip_norm(self._moved, self._config.clip, size=size)

    def _diverged(self, what: str, step: int, outcome: Outcome | None = None) -> DivergedError:
        terms = {} if outcome is None else {n: v for n, v in outcome.losses.items() if n != "loss"}
        facts = [f"learning rate {self.lr(step - 1):.3g}", *(f"{name} {v:.3g}" for name, v in terms.items())]
        return DivergedError(f"{what} at step {step} ({', '.join(facts)})", where="train")


def result_of(saved: Checkpoint, trainee: Model, config: TrainConfig, steps: int) -> dict[str, Array]:
    """The values that :meth:`Trainer.save` would write, from a checkpoint.

    Args:
        trainee: the compression form that was trained.
        steps: of the whole run.
    """
    last = Phases.of(trainee, steps).at(saved.step - 1)
    compression = Compression(trainee, saved.parameters, rounded=last.weights)
    if config.ema is None:
        return finished(compression, saved.parameters)
    prefix = "average/"
    averages = {n.removeprefix(prefix): a for n, a in saved.average.items() if n.startswith(prefix)}
    return settled(compression, saved.parameters, averages)


def finished(compression: Compression, parameters: Mapping[str, Array]) -> dict[str, Array]:
    """What is evaluated and saved of ``parameters``, which stay as they are."""
    values = dict(parameters)
    compression.finish(values)
    return values


def write(model: Model, values: Mapping[str, Array]) -> None:
    """Replace the constants of ``model`` by copies of ``values`` of the same name."""
    for name, constant in model.constants().items():
        if name in values:
            constant.values = values[name].copy()


def _closing(model: Model, parameters: Mapping[str, Array], steps: int) -> list[Closing]:
    """What closes masks, by the passes of the recipe."""
    passes = recipe.parse(model.recipe).passes if model.recipe else ()
    found: list[Closing] = []
    for one in passes:
        if isinstance(one, Prune):
            found.append(Pruning(model, parameters, one, steps))
        elif isinstance(one, Channels) and one.schedule != "one-shot":
            found.append(ChannelPruning(model, parameters, one, steps))
    return found
