"""Each loss once, with arrays to run it on, for what holds of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from onnxcomp.passes.distill import losses
from tests.passes.distill.losses import formulas
from tests.passes.distill.losses.building import Build, Float64

MARGIN, TEMPERATURE, CLASSES = 0.7, 3.0, 7
DISTANCE, ANGLE = 1.0, 2.0
SHARES: dict[str, Any] = {"temperature": TEMPERATURE, "target_weight": 1.0, "others_weight": 8.0}


@dataclass(frozen=True)
class Case:
    """A loss of ``arrays(seed, images)``: the student's tensor, the teacher's, and what else it reads."""

    build: Build
    formula: Float64
    own: tuple[int, ...]
    other: tuple[int, ...]
    extra: Callable[[np.random.Generator, int], list[np.ndarray]] = lambda rng, images: []

    def arrays(self, seed: int, images: int = 3) -> list[np.ndarray]:
        rng = np.random.default_rng(seed)
        pair = [(2 * rng.standard_normal((images, *s))).astype(np.float32) for s in (self.own, self.other)]
        return [*pair, *self.extra(rng, images)]


MAPS = (4, 5, 3)
CASES = {
    "soft_targets": Case(
        lambda g, x: losses.soft_targets(g, x[0], x[1], TEMPERATURE),
        partial(formulas.soft_targets, temperature=TEMPERATURE),
        (CLASSES,),
        (CLASSES,),
    ),
    "boundary": Case(
        lambda g, x: losses.boundary(g, [(x[0], x[1])], MARGIN),
        partial(formulas.boundary, margin=MARGIN),
        MAPS,
        MAPS,
    ),
    "hints": Case(lambda g, x: losses.hints(g, [(x[0], x[1])]), formulas.hints, MAPS, MAPS),
    "attention": Case(
        lambda g, x: losses.attention(g, [(x[0], x[1])]), formulas.attention, MAPS, (2, *MAPS[1:])
    ),
    "relations": Case(
        lambda g, x: losses.relations(g, x[0], x[1], DISTANCE, ANGLE),
        partial(formulas.relations, distance=DISTANCE, angle=ANGLE),
        (7,),
        (2, 3, 1),
    ),
    "decoupled": Case(
        lambda g, x: losses.decoupled(g, x[0], x[1], x[2], CLASSES, **SHARES),
        partial(formulas.decoupled, **SHARES),
        (CLASSES,),
        (CLASSES,),
        lambda rng, images: [rng.integers(0, CLASSES, images)],
    ),
}
