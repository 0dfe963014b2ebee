"""What a training run is asked to do."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from onnxcomp.errors import TrainingError
from onnxcomp.runtime import default_threads
from onnxcomp.training import schedule as schedules
from onnxcomp.training.blocks import Array
from onnxcomp.training.groups import Groups
from onnxcomp.training.identity import Settings
from onnxcomp.training.optim import SGD, AdamW, Optimizer
from onnxcomp.training.schedule import Schedule

OPTIMIZERS = ("sgd", "adamw")
BATCH_NORMS = ("train", "frozen")
_DEFAULT_LR = {"sgd": 0.005, "adamw": 3e-4}
_DEFAULT_DECAY = {"sgd": 1e-4, "adamw": 0.01}
_SECOND_BETA = 0.999
_DECISIVE = (
    *("epochs", "batch_size", "accumulate", "optimizer", "momentum", "nesterov", "clip"),
    *("label_smoothing", "ema", "batch_norm", "seed", "augment"),
)


@dataclass(frozen=True)
class TrainConfig:
    """Options of ``train``.

    Attributes:
        epochs: passes over the training images, > 0; a fraction ends within an epoch.
        batch_size: images that the network sees at once, on each rank.
        accumulate: batches of each rank in a step; gradients are averaged over them.
        optimizer: ``sgd`` (with momentum) or ``adamw``.
        lr: peak learning rate; None for 0.005 with sgd, 0.0003 with adamw.
        momentum: of sgd; the first beta of adamw.
        nesterov: whether sgd looks ahead.
        weight_decay: None for 1e-4 with sgd, 0.01 with adamw.
        groups: which tensors do not decay, and which learn faster or slower.
        schedule: of the learning rate, as :func:`onnxcomp.training.schedule.parse` reads it.
        warmup: below 1 a share of the steps with a rising learning rate, from 1 on a number of steps;
            None for the schedule's own.
        clip: largest Euclidean norm of all gradients together; None for no limit.
        label_smoothing: share of the label spread over all classes, 0 to 1.
        ema: decay of the moving average of the weights, which is then what is evaluated and saved; None
            for no average.
        batch_norm: ``train`` normalises with the batch's statistics, ``frozen`` with the running ones,
            which then stay as they are.
        seed: of the order of the images and of their augmentation.
        augment: as :func:`onnxcomp.data.augment.parse` reads it.
        threads: of ONNX Runtime.
        workers: threads that prepare images; with 0 the training itself does it.
        keep: how many checkpoints stay.
        checkpoint_every: steps between two checkpoints; there is one before each measurement too.
        evaluate_every: epochs between two measurements on the test images; 0 for the end only.
        log_every: steps between two lines of metrics.
        tensorboard: write TensorBoard's event files too.
        teacher_cache: folder of what a teacher says of images that are not augmented; ``off`` for none,
            None for ``teacher`` in onnxcomp's cache of the user.

    Raises:
        TrainingError: a value is out of range.
    """

    epochs: float
    batch_size: int = 32
    accumulate: int = 1
    optimizer: str = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    nesterov: bool = True
    weight_decay: float | None = None
    groups: Groups = field(default_factory=Groups)
    schedule: str = "cosine"
    warmup: float | None = None
    clip: float | None = None
    label_smoothing: float = 0.0
    ema: float | None = None
    batch_norm: str = "train"
    seed: int = 0
    augment: str = "standard"
    threads: int = field(default_factory=default_threads)
    workers: int = 1
    keep: int = 2
    checkpoint_every: int = 200
    evaluate_every: int = 1
    log_every: int = 50
    tensorboard: bool = False
    teacher_cache: str | None = None

    def __post_init__(self) -> None:
        for name, choices in (("optimizer", OPTIMIZERS), ("batch_norm", BATCH_NORMS)):
            if getattr(self, name) not in choices:
                raise _out_of_range(name, getattr(self, name), f"one of {', '.join(choices)}")
        checks = {
            "epochs": (0 < self.epochs < math.inf, "a number above 0"),
            "lr": (0 < self.peak_lr < math.inf, "a number above 0"),
            "momentum": (0 <= self.momentum < 1, "0 to below 1"),
            "weight_decay": (0 <= self.decay < 1, "0 to below 1"),
            "clip": (self.clip is None or 0 < self.clip < math.inf, "a number above 0"),
            "label_smoothing": (0 <= self.label_smoothing <= 1, "0 to 1"),
            "ema": (self.ema is None or 0 <= self.ema < 1, "0 to below 1, such as 0.999"),
        }
        for name in ("seed", "evaluate_every", "workers"):
            checks[name] = (getattr(self, name) >= 0, "0 or more")
        for name in ("batch_size", "accumulate", "threads", "keep", "checkpoint_every", "log_every"):
            checks[name] = (getattr(self, name) >= 1, "1 or more")
        for name, (holds, allowed) in checks.items():
            if not holds:
                raise _out_of_range(name, getattr(self, name), allowed)
        self.make_schedule()

    @property
    def peak_lr(self) -> float:
        return _DEFAULT_LR[self.optimizer] if self.lr is None else self.lr

    @property
    def decay(self) -> float:
        return _DEFAULT_DECAY[self.optimizer] if self.weight_decay is None else self.weight_decay

    def steps(self, steps_per_epoch: int) -> int:
        """Length of the run in steps, at least 1."""
        return max(1, round(self.epochs * steps_per_epoch))

    def make_schedule(self) -> Schedule:
        """The learning rate over the run.

        Raises:
            TrainingError: there is no such schedule or option, or a value is out of range.
        """
        return schedules.parse(self.schedule, peak=self.peak_lr, warmup=self.warmup)

    def make_optimizer(
        self,
        parameters: Mapping[str, Array],
        undecayed: Collection[str] = (),
        absent: Collection[str] = (),
    ) -> Optimizer:
        """The optimiser on live ``parameters``.

        Args:
            undecayed: names of those that never decay, whatever :attr:`groups` says.
            absent: names of others that are trained at another time, which a pattern may mean.

        Raises:
            TrainingError: a pattern of :attr:`groups` matches none of them.
        """
        groups = self.groups.among(parameters, absent)
        if self.optimizer == "adamw":
            betas = (self.momentum, _SECOND_BETA)
            return AdamW(parameters, betas=betas, weight_decay=self.decay, groups=groups, undecayed=undecayed)
        return SGD(
            parameters,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.decay,
            groups=groups,
            undecayed=undecayed,
        )

    def settings(self) -> Settings:
        """What decides the result: a resumed run must agree in all of it."""
        schedule = self.make_schedule()
        return {
            **{name: getattr(self, name) for name in _DECISIVE},
            "lr": self.peak_lr,
            "weight_decay": self.decay,
            "no_decay": " ".join(self.groups.no_decay),
            "lr_scale": " ".join(f"{pattern}={factor:g}" for pattern, factor in self.groups.lr_scale),
            "decay_vectors": self.groups.decay_vectors,
            "schedule": str(schedule),
            "warmup": schedule.warmup,
        }


def _out_of_range(name: str, value: object, allowed: str) -> TrainingError:
    option = "--" + name.replace("_", "-")
    return TrainingError(f"{value} is out of range", where=option, fix=f"give {allowed}")
