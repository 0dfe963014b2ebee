"""When something is due in a run."""

from __future__ import annotations

from dataclasses import dataclass

from onnxcomp.training.config import TrainConfig


@dataclass(frozen=True)
class Course:
    """A run of ``steps`` steps.

    Attributes:
        per_epoch: steps of an epoch.
    """

    config: TrainConfig
    per_epoch: int

    @property
    def steps(self) -> int:
        return self.config.steps(self.per_epoch)

    def epoch(self, done: int) -> float:
        """Passes over the training images after ``done`` steps."""
        return done / self.per_epoch

    def logs(self, done: int) -> bool:
        """Whether a line of metrics is due after ``done`` steps."""
        return done % self.config.log_every == 0 or done == self.steps

    def evaluates(self, done: int) -> bool:
        """Whether a measurement on the test images is due after ``done`` steps."""
        if done in (0, self.steps):
            return done > 0
        every = self.config.evaluate_every * self.per_epoch
        return every > 0 and done % every == 0

    def saves(self, done: int) -> bool:
        """Whether a checkpoint is due: before a measurement, so that none is made twice, too."""
        return done % self.config.checkpoint_every == 0 or self.evaluates(done)
