"""A run as far as it is decided before anything is built or written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onnxcomp.data import DataSet, TrainingBatches
from onnxcomp.fingerprint import fingerprint
from onnxcomp.model import Model
from onnxcomp.training import reach
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.course import Course
from onnxcomp.training.identity import Identity, describe
from onnxcomp.training.ranks import Ranks
from onnxcomp.training.setup import begin_from, check_labels, prepared, share_weights, training_batches
from onnxcomp.training.stages import Stages


@dataclass(frozen=True)
class Plan:
    """What is trained on what, and for how long.

    Attributes:
        model: as it is given to the run, with its preprocessing: a copy.
        batches: of the training images.
        course: when something is due.
        stages: which losses there are when.
        identity: what a resumed run must agree in.
    """

    model: Model
    batches: TrainingBatches
    course: Course
    stages: Stages
    identity: Identity

    @classmethod
    def of(
        cls,
        model: Model,
        data: DataSet,
        config: TrainConfig,
        ranks: Ranks,
        *,
        weights_from: Path | None = None,
        note: Callable[[str], None] = lambda line: None,
    ) -> Plan:
        """Decide it; for arguments and errors see :func:`onnxcomp.training.loop.train`."""
        model = prepared(model, data)
        check_labels(model, data)
        if weights_from is not None:
            if ranks.rank == 0:
                begin_from(model, weights_from, note)
            share_weights(model, ranks)
        batches = training_batches(model, data, config, ranks.size)
        course = Course(config, batches.steps_per_epoch)
        stages = Stages.of(model, course.steps)
        reach.check(model, stages, course.steps)
        settings = {**config.settings(), "data": describe(data), "ranks": ranks.size}
        return cls(model, batches, course, stages, Identity(fingerprint(model), settings))

    def lines(self) -> list[str]:
        """How long it is and what happens on the way, in plain words."""
        course = self.course
        config, steps = course.config, course.steps
        due = range(1, steps + 1)
        found = [
            f"{steps:,} steps of {config.batch_size * self.batches.parts} images,"
            f" {course.per_epoch:,} an epoch: {course.epoch(steps):g} epochs",
            f"{_some(sum(map(course.evaluates, due)), 'measurement')} on the test images,"
            f" {_some(sum(map(course.saves, due)), 'checkpoint')} of which the last {config.keep} stay",
        ]
        if self.stages.several:
            starts = [step for step in range(steps) if not step or self.stages.ends(step)]
            found += [self.stages.line(step) for step in starts]
        return found


def _some(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
