"""What a training run is asked to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from onnxcomp.errors import TrainingError
from onnxcomp.runtime import default_threads
from onnxcomp.training.optim import SGD, AdamW, Array, Optimizer

OPTIMIZERS = ("sgd", "adamw")
_DEFAULT_LR = {"sgd": 0.005, "adamw": 3e-4}
_DEFAULT_DECAY = {"sgd": 1e-4, "adamw": 0.01}


@dataclass(frozen=True)
class TrainConfig:
    """Options of ``train``.

    Attributes:
        epochs: passes over the training images, > 0; a fraction ends within an epoch.
        batch_size: images a step.
        optimizer: ``sgd`` (Nesterov momentum) or ``adamw``.
        lr: peak learning rate; None for 0.005 with sgd, 0.0003 with adamw.
        momentum: of sgd.
        weight_decay: None for 1e-4 with sgd, 0.01 with adamw.
        warmup: share of the steps with a rising learning rate.
        seed: of the order of the images and of their augmentation.
        augment: random crops and flips.
        threads: of ONNX Runtime.
        checkpoint_every: steps between two checkpoints; there is one after each measurement too.
        evaluate_every: epochs between two measurements on the test images; 0 for the end only.
        log_every: steps between two lines of metrics.

    Raises:
        TrainingError: a value is out of range.
    """

    epochs: float
    batch_size: int = 32
    optimizer: str = "sgd"
    lr: float | None = None
    momentum: float = 0.9
    weight_decay: float | None = None
    warmup: float = 0.05
    seed: int = 0
    augment: bool = True
    threads: int = field(default_factory=default_threads)
    checkpoint_every: int = 200
    evaluate_every: int = 1
    log_every: int = 50

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise _out_of_range("optimizer", self.optimizer, f"one of {', '.join(OPTIMIZERS)}")
        checks = {
            "epochs": (0 < self.epochs < float("inf"), "a number above 0"),
            "lr": (0 < self.peak_lr < float("inf"), "a number above 0"),
            "momentum": (0 <= self.momentum < 1, "0 to below 1"),
            "weight_decay": (0 <= self.decay < 1, "0 to below 1"),
            "warmup": (0 <= self.warmup < 1, "0 to below 1"),
            "seed": (self.seed >= 0, "0 or more"),
            "evaluate_every": (self.evaluate_every >= 0, "0 or more"),
        }
        for name in ("batch_size", "threads", "checkpoint_every", "log_every"):
            checks[name] = (getattr(self, name) >= 1, "1 or more")
        for name, (holds, allowed) in checks.items():
            if not holds:
                raise _out_of_range(name, getattr(self, name), allowed)

    @property
    def peak_lr(self) -> float:
        return _DEFAULT_LR[self.optimizer] if self.lr is None else self.lr

    @property
    def decay(self) -> float:
        return _DEFAULT_DECAY[self.optimizer] if self.weight_decay is None else self.weight_decay

    def steps(self, steps_per_epoch: int) -> int:
        """Length of the run in steps, at least 1."""
        return max(1, round(self.epochs * steps_per_epoch))

    def make_optimizer(self, parameters: Mapping[str, Array]) -> Optimizer:
        """The optimiser on live ``parameters``."""
        if self.optimizer == "adamw":
            return AdamW(parameters, weight_decay=self.decay)
        return SGD(parameters, momentum=self.momentum, weight_decay=self.decay)

    def settings(self) -> dict[str, float | int | str | bool]:
        """What decides the result: a resumed run must agree in all of it."""
        return {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "optimizer": self.optimizer,
            "lr": self.peak_lr,
            "momentum": self.momentum,
            "weight_decay": self.decay,
            "warmup": self.warmup,
            "seed": self.seed,
            "augment": self.augment,
        }


def _out_of_range(name: str, value: object, allowed: str) -> TrainingError:
    option = "--" + name.replace("_", "-")
    return TrainingError(f"{value} is out of range", where=option, fix=f"give {allowed}")
