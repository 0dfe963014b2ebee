"""The learning rate, and for one-cycle the momentum, as functions of the step.

Shapes and numbers are PyTorch's: step ``s`` of ``total`` has the rate that
``torch.optim.lr_scheduler`` gives after ``s`` calls of ``scheduler.step()``.
"""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

from onnxcomp.errors import TrainingError
from onnxcomp.nearest import meant

_TEXT = re.compile(r"\s*([\w-]+)\s*(?:\{(.*)\}\s*)?")
_OPTION = re.compile(r"\s*(\w+)=(\[[^\]]*\]|\S+)")


@dataclass(frozen=True)
class Schedule(ABC):
    """A linear warm-up to the peak, then a shape of its own.

    Warm-up: step ``s`` of ``r`` rising ones has ``peak * (s + 1) / (r + 1)``, so that step ``r`` is the first
    with the peak: ``LinearLR(start_factor=1 / (r + 1), total_iters=r)`` in a ``SequentialLR``.

    Attributes:
        peak: the highest learning rate, above 0.
        warmup: below 1 a share of the run, from 1 on a number of steps.

    Raises:
        TrainingError: a value is out of range.
    """

    name: ClassVar[str]
    default_warmup: ClassVar[float] = 0.05

    peak: float
    warmup: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.peak < math.inf:
            raise TrainingError(f"{self.peak:g} is out of range", where="--lr", fix="give a number above 0")
        whole = self.warmup == round(self.warmup) if math.isfinite(self.warmup) else False
        if not (0 <= self.warmup < 1 or (self.warmup >= 1 and whole)):
            raise TrainingError(
                f"{self.warmup:g} is out of range",
                where="--warmup",
                fix="give a share of the run (0 to below 1) or a whole number of steps",
            )

    def lr(self, step: int, total: int) -> float:
        """Learning rate of step ``step``, 0 to ``total - 1``."""
        rising = self.rising(total)
        if step < rising:
            return self.peak * (step + 1) / (rising + 1)
        return self.peak * self._share(step, total, rising)

    def momentum(self, step: int, total: int) -> float | None:
        """Momentum of step ``step`` (AdamW's first beta); None for the optimiser's own."""
        return None

    def rising(self, total: int) -> int:
        """Steps of warm-up in a run of ``total``."""
        return round(total * self.warmup) if self.warmup < 1 else int(self.warmup)

    @abstractmethod
    def _share(self, step: int, total: int, rising: int) -> float:
        """Of the peak, at a step behind the warm-up."""

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            value = getattr(self, name)
            raise TrainingError(
                f"{name} {value} of {self.name} is out of range", where="--schedule", fix=f"give {allowed}"
            )

    def __str__(self) -> str:
        """The text that :func:`parse` reads, without peak and warm-up."""
        changed = [
            f"{field.name}={json.dumps(value, separators=(',', ':'))}"
            for field in _options(type(self))
            if (value := getattr(self, field.name)) != field.default
        ]
        return f"{self.name}{{{' '.join(changed)}}}" if changed else self.name


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from the peak to the floor (Loshchilov & Hutter 2017, equation 5, without restarts).

    ``CosineAnnealingLR(T_max=total - warm-up, eta_min=floor * peak)``; the last step is one before the floor.

    Attributes:
        floor: share of the peak, 0 to 1.
    """

    name: ClassVar[str] = "cosine"
    floor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("floor", 0 <= self.floor <= 1, "0 to 1")

    def _share(self, step: int, total: int, rising: int) -> float:
        falling = 0.5 * (1 + math.cos(math.pi * _part(step, total, rising)))
        return self.floor + (1 - self.floor) * falling


@dataclass(frozen=True)
class Linear(Schedule):
    """A straight line from the peak to the floor: ``LinearLR(start_factor=1, end_factor=floor)``.

    Attributes:
        floor: share of the peak, 0 to 1.
    """

    name: ClassVar[str] = "linear"
    floor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("floor", 0 <= self.floor <= 1, "0 to 1")

    def _share(self, step: int, total: int, rising: int) -> float:
        return 1 + (self.floor - 1) * _part(step, total, rising)


@dataclass(frozen=True)
class Constant(Schedule):
    """The peak, from the end of the warm-up on."""

    name: ClassVar[str] = "constant"

    def _share(self, step: int, total: int, rising: int) -> float:
        return 1.0


@dataclass(frozen=True)
class Step(Schedule):
    """Times gamma at each milestone: ``MultiStepLR``.

    Attributes:
        milestones: shares of the whole run, increasing, each above 0 and below 1; the step nearest to
            one is the first with the lower rate.
        gamma: above 0, at most 1.
    """

    name: ClassVar[str] = "step"
    milestones: tuple[float, ...] = (0.5, 0.75)
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        inside = all(0 < share < 1 for share in self.milestones)
        rising = list(self.milestones) == sorted(set(self.milestones))
        self._require(
            "milestones",
            bool(self.milestones) and inside and rising,
            "increasing shares of the run, such as [0.5,0.75]",
        )
        self._require("gamma", 0 < self.gamma <= 1, "above 0 to 1")

    def _share(self, step: int, total: int, rising: int) -> float:
        passed = sum(step >= round(share * total) for share in self.milestones)
        return float(self.gamma**passed)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up and down once, in cosines, the momentum against it (Smith & Topin 2018, arXiv 1708.07120).

    ``OneCycleLR(max_lr=peak, anneal_strategy="cos", three_phase=False)``, whose names and defaults these are.
    It rises by itself and takes no warm-up.

    Attributes:
        pct_start: share of the run that rises, above 0 and below 1.
        div_factor: the first rate is ``peak / div_factor``; at least 1.
        final_div_factor: the last rate is the first one divided by it; at least 1.
        cycle_momentum: whether the momentum falls from its maximum to its base while the rate rises.
        base_momentum: above 0, at most ``max_momentum``.
        max_momentum: below 1.
    """

    name: ClassVar[str] = "onecycle"
    default_warmup: ClassVar[float] = 0.0
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    cycle_momentum: bool = True
    base_momentum: float = 0.85
    max_momentum: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup:
            raise TrainingError(
                "onecycle rises by itself", where="--warmup", fix="give --schedule 'onecycle{pct_start=0.3}'"
            )
        self._require("pct_start", 0 < self.pct_start < 1, "above 0 to below 1")
        self._require("div_factor", 1 <= self.div_factor < math.inf, "1 or more")
        self._require("final_div_factor", 1 <= self.final_div_factor < math.inf, "1 or more")
        self._require("max_momentum", 0 < self.max_momentum < 1, "above 0 to below 1")
        self._require("base_momentum", 0 < self.base_momentum <= self.max_momentum, "above 0 to max_momentum")

    def momentum(self, step: int, total: int) -> float | None:
        if not self.cycle_momentum:
            return None
        return self._anneal(step, total, self.max_momentum, self.base_momentum, self.max_momentum)

    def _share(self, step: int, total: int, rising: int) -> float:
        first = 1 / self.div_factor
        return self._anneal(step, total, first, 1.0, first / self.final_div_factor)

    def _anneal(self, step: int, total: int, first: float, middle: float, last: float) -> float:
        top, end = self.pct_start * total - 1, total - 1
        if step <= top:
            return _cosine(first, middle, step / top if top > 0 else 1.0)
        return _cosine(middle, last, (step - top) / (end - top))


SHAPES: dict[str, type[Schedule]] = {
    shape.name: shape for shape in (Cosine, Step, OneCycle, Linear, Constant)
}
"""Every schedule by name."""


def parse(text: str, *, peak: float, warmup: float | None = None) -> Schedule:
    """A schedule from its name and options: ``cosine`` or ``step{milestones=[0.5,0.75] gamma=0.2}``.

    Args:
        peak: the highest learning rate.
        warmup: None for the schedule's own: a twentieth of the run, none for onecycle.

    Raises:
        TrainingError: malformed, an unknown name or option, or a value out of range.
    """
    match = _TEXT.fullmatch(text)
    if not match or match[1] not in SHAPES:
        fix = meant(text.partition("{")[0], SHAPES, f"choose one of {', '.join(SHAPES)}")
        raise _refuse(f"{text!r} is no schedule", fix)
    shape = SHAPES[match[1]]
    rest = match[2] or ""
    options = {found[1]: _value(shape, found[1], found[2]) for found in _OPTION.finditer(rest)}
    if _OPTION.sub("", rest).strip():
        raise _refuse(f"{text!r} is malformed", "write it as step{milestones=[0.5,0.75] gamma=0.1}")
    return shape(peak=peak, warmup=shape.default_warmup if warmup is None else warmup, **options)


def _options(shape: type[Schedule]) -> list[Any]:
    return [field for field in fields(shape) if field.name not in ("peak", "warmup")]


def _value(shape: type[Schedule], name: str, text: str) -> Any:
    """The value of the option ``name``, of the type of its default."""
    defaults = {field.name: field.default for field in _options(shape)}
    if name not in defaults:
        known = f"its options are {', '.join(defaults)}" if defaults else "it has none"
        raise _refuse(f"{shape.name} has no option {name}", known)
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    default = defaults[name]
    assert default is not MISSING
    if isinstance(default, tuple) and isinstance(value, list) and all(map(_is_number, value)):
        return tuple(float(item) for item in value)
    if isinstance(default, bool) and isinstance(value, bool):
        return value
    if isinstance(default, float) and _is_number(value):
        return float(value)
    raise _refuse(
        f"{name} {text} of {shape.name} is of the wrong kind", f"give one like {json.dumps(default)}"
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse(what: str, fix: str) -> TrainingError:
    return TrainingError(what, where="--schedule", fix=fix)


def _part(step: int, total: int, rising: int) -> float:
    """Of the way from the end of the warm-up to the end of the run."""
    return (step - rising) / max(total - rising, 1)


def _cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) / 2.0 * (1 + math.cos(math.pi * part))
