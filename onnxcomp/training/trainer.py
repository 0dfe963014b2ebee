"""One training step, and the state that it moves."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from onnxcomp import recipe
from onnxcomp.errors import TrainingError
from onnxcomp.model import Model
from onnxcomp.passes.prune import Prune
from onnxcomp.training.checkpoint import Checkpoint
from onnxcomp.training.compression import Compression
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.engine import Engine, StepResult
from onnxcomp.training.schedule import cosine


class Trainer:
    """Engine, optimiser and compression, moved together.

    Args:
        engine: made for ``model``.
        model: compression form.
        steps: of the whole run.
    """

    def __init__(self, engine: Engine, model: Model, config: TrainConfig, steps: int) -> None:
        self._engine = engine
        self._config = config
        self._steps = steps
        self.parameters = engine.parameters
        self._optimizer = config.make_optimizer({name: self.parameters[name] for name in engine.gradients})
        self._compression = Compression(model, self.parameters, _pruning(model), steps)
        self.masks = self._compression.mask_names

    @property
    def sparsity(self) -> float:
        """Share of the masked weights that is 0."""
        return self._compression.sparsity

    def lr(self, step: int) -> float:
        """Learning rate of step ``step``."""
        return cosine(step, self._steps, peak=self._config.peak_lr, warmup=self._config.warmup)

    def step(self, step: int, images: NDArray[np.float32], labels: NDArray[np.int64]) -> StepResult:
        """Step ``step``, counted from 0: masks, loss, gradients, update, masks again, scales.

        Raises:
            TrainingError: the loss is not a finite number; no gradient has moved the weights.
        """
        self._compression.before_step(step)
        result = self._engine.step(images, labels)
        if not math.isfinite(result.losses["loss"]):
            raise self._diverged(f"the loss is {result.losses['loss']} at step {step + 1}")
        self._optimizer.step(self._engine.gradients, self.lr(step))
        self._compression.after_step()
        return result

    def state(self, done: int) -> Checkpoint:
        """The live state after ``done`` steps.

        Raises:
            TrainingError: a parameter is not finite, so it is no state to continue from.
        """
        for name, values in self.parameters.items():
            if not np.isfinite(values).all():
                raise self._diverged(f"{name} is no longer finite at step {done}")
        return Checkpoint(done, self.parameters, self._optimizer.state_arrays())

    def restore(self, saved: Checkpoint) -> None:
        """Take over a state that :meth:`state` gave.

        Raises:
            CheckpointError: it is of another network or optimiser.
        """
        saved.restore(self.parameters)
        self._optimizer.load(saved.optimizer)
        self._compression.restore()

    def _diverged(self, what: str) -> TrainingError:
        return TrainingError(
            what,
            where="train",
            fix=f"lower --lr (it is {self._config.peak_lr:g}) or check the weights",
        )


def _pruning(model: Model) -> Prune | None:
    found = recipe.parse(model.recipe).find(Prune.name) if model.recipe else None
    return found if isinstance(found, Prune) else None
