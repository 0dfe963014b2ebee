"""The stages of a run, as a function of the step: which losses it has, and at which learning rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onnxcomp import recipe
from onnxcomp.errors import TrainingError
from onnxcomp.graphs import LOSS_PREFIX
from onnxcomp.model import Model
from onnxcomp.passes.distill import Distill


@dataclass(frozen=True)
class Stretch:
    """Steps ``start`` to ``stop - 1`` of a run.

    Attributes:
        losses: weight of each loss by output name; None for those of the file.
        lr: highest learning rate; None for that of the run.
    """

    start: int
    stop: int
    losses: Mapping[str, float] | None = None
    lr: float | None = None

    @property
    def steps(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Stages:
    """The stretches of a run, one behind the other."""

    stretches: tuple[Stretch, ...]

    @classmethod
    def of(cls, model: Model, steps: int) -> Stages:
        """As the recipe of ``model`` says, for a run of ``steps`` steps; one stretch where it has no stages.

        Raises:
            TrainingError: the run is too short for its stages.
        """
        found = distill(model)
        plan = found.plan() if found is not None else ()
        if len(plan) < 2:
            return cls((Stretch(0, steps, None, plan[0].lr if plan else None),))
        stretches, start = [], 0
        for stage in plan:
            length = stage.steps
            stop = steps if length is None else start + round(length * steps if length < 1 else length)
            weights = {f"{LOSS_PREFIX}{term}": weight for term, weight in stage.losses.items()}
            weights = {name: weight for name, weight in weights.items() if name in model.losses}
            stretches.append(Stretch(start, stop, weights, stage.lr))
            start = stop
        for number, stretch in enumerate(stretches, start=1):
            if stretch.steps < 1 or stretch.stop > steps:
                raise TrainingError(
                    f"stage {number} of {len(stretches)} would be steps {stretch.start + 1} to {stretch.stop}"
                    f" of a run of {steps}",
                    where="distill: stages",
                    fix="train for more --epochs, or apply distill with shorter stages",
                )
        return cls(tuple(stretches))

    @property
    def several(self) -> bool:
        return len(self.stretches) > 1

    def at(self, step: int) -> Stretch:
        """The stretch that step ``step``, counted from 0, is in; behind the end the last one."""
        return next((s for s in self.stretches if step < s.stop), self.stretches[-1])

    def ends(self, done: int) -> bool:
        """Whether a stretch, but not the run, ends after ``done`` steps."""
        return any(done == stretch.stop for stretch in self.stretches[:-1])

    def line(self, step: int) -> str:
        """Says which stage step ``step`` is in."""
        stage = self.at(step)
        number = self.stretches.index(stage) + 1
        rate = "" if stage.lr is None else f", learning rate {stage.lr:g}"
        losses = _words((stage.losses or {}).items())
        steps = f"steps {stage.start + 1} to {stage.stop}"
        return f"stage {number} of {len(self.stretches)}: {losses}, {steps}{rate}"


def lines(model: Model) -> list[str]:
    """The stages of ``model``, a line each; none where there is one alone."""
    found = distill(model)
    plan = found.plan() if found is not None else ()
    texts = []
    for number, stage in enumerate(plan, start=1):
        length = stage.steps
        steps = (
            "the rest of the" if length is None else f"{length:.0%} of the" if length < 1 else f"{length:g}"
        )
        rate = "" if stage.lr is None else f", learning rate {stage.lr:g}"
        there = [(n, weight) for n, weight in stage.losses.items() if f"{LOSS_PREFIX}{n}" in model.losses]
        texts.append(f"stage {number} of {len(plan)}: {_words(there)}, {steps} steps{rate}")
    return texts if len(plan) > 1 else []


def distill(model: Model) -> Distill | None:
    """The pass ``distill`` of the recipe of ``model``, or None."""
    found = recipe.parse(model.recipe).find("distill") if model.recipe else None
    return found if isinstance(found, Distill) else None


def _words(losses: Iterable[tuple[str, float]]) -> str:
    return ", ".join(f"{name.removeprefix(LOSS_PREFIX)} {weight:g}" for name, weight in losses)
