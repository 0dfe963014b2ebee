"""Stages of a training that distils, one after the other: each has its losses, steps and learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

Term = Literal["task", "soft_targets", "boundary", "hints", "attention", "relations", "decoupled"]
Weight = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Stage:
    """A part of a training.

    Each stage begins with a fresh optimiser and goes through the whole schedule of the learning rate.
    What its losses do not depend on is not moved.

    Attributes:
        losses: weight, above 0, of each term.
        steps: below 1 a share of the training's steps, from 1 on a number of steps. The last stage takes
            what is left and has none.
        lr: highest learning rate; None for that of the training.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    losses: Mapping[Term, Weight]
    steps: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


def obstacle(stages: tuple[Stage, ...]) -> tuple[str, str]:
    """What is wrong with ``stages`` and how to mend it; two empty texts if nothing is."""
    for number, stage in enumerate(stages, start=1):
        if not stage.losses:
            return f"stage {number} has no loss", "give it one, such as losses: {soft_targets: 1}"
        last = number == len(stages)
        if last and stage.steps is not None:
            return f"stage {number}, the last, has steps", "leave them out: it takes what is left"
        if not last and stage.steps is None:
            return f"stage {number} does not say its steps", "give a share such as steps: 0.3, or a number"
        if stage.steps is not None and stage.steps > 1 and stage.steps != round(stage.steps):
            return f"stage {number} has {stage.steps:g} steps", "give a share below 1 or a whole number"
    shares = sum(stage.steps for stage in stages if stage.steps is not None and stage.steps < 1)
    if shares >= 1:
        return f"the stages before the last take {shares:.4g} of the steps", "let them take less than all"
    return "", ""
