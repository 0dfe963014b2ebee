"""What the pass ``prune`` refuses, before it changes anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from onnxcomp import graphs
from onnxcomp.errors import PassError
from onnxcomp.model import Model
from onnxcomp.passes.base import Context, excluded, unmatched
from onnxcomp.passes.prune import allocation, curves, patterns
from onnxcomp.passes.prune.criteria import STATISTICS
from onnxcomp.passes.prune.selection import lines, nearest, shadowed

if TYPE_CHECKING:
    from onnxcomp.passes.prune.prune import Prune


def check(prune: Prune, model: Model, context: Context) -> None:
    """Raise :class:`onnxcomp.errors.PassError` where the pass cannot do what its options say."""
    for what, fix in _contradictions(prune):
        raise prune.error(what, fix=fix)
    if graphs.masks(model.graph):
        raise prune.error("weights have masks already", fix="let channels be one-shot before prune")
    _check_data(prune, context)
    _check_names(prune, model)
    if not prune.selection(model).chosen:
        raise _nothing(prune, model)
    if prune.allocation == "sensitivity":
        measured_shares(prune, model)
    for weight in graphs.weights(model.graph):
        if not np.isfinite(weight.tensor.values).all():
            raise prune.error(f"{weight.name} is not finite", node=weight.node.name, fix="train it again")


def _contradictions(prune: Prune) -> Iterator[tuple[str, str]]:
    """What is wrong with the options together, and how to mend it."""
    yield from _of_schedule(prune)
    yield from _of_pattern(prune)
    if prune.criterion == "obs" and not prune.at_once:
        yield "criterion=obs is for schedule=one-shot and begin=0", "set prune.schedule=one-shot"
    if prune.seed and prune.criterion != "random":
        yield "seed is for criterion=random alone", "leave prune.seed out"
    if prune.allocation == "sensitivity":
        if prune.sensitivity is None:
            yield (
                "allocation=sensitivity needs curves",
                "give prune.sensitivity=FILE from onnxcomp sensitivity",
            )
        if prune.max_drop is None:
            yield "allocation=sensitivity needs a limit", "give prune.max_drop=POINTS"
        if prune.sparsity is not None:
            yield "allocation=sensitivity sets each layer's sparsity", "leave prune.sparsity out"
    for name in ("sensitivity", "max_drop"):
        if prune.allocation != "sensitivity" and getattr(prune, name) is not None:
            yield f"{name} is for allocation=sensitivity", f"leave prune.{name} out"


def _of_schedule(prune: Prune) -> Iterator[tuple[str, str]]:
    unused = {"one-shot": ("initial", "end", "frequency"), "ramp": ("initial",)}.get(prune.schedule, ())
    defaults = {field.name: field.default for field in fields(prune)}
    for name in unused:
        if getattr(prune, name) != defaults[name]:
            yield f"{name} does nothing with schedule={prune.schedule}", f"leave prune.{name} out"
    alike = (prune.begin <= 1) == (prune.end <= 1)  # shares and steps compare when the training is known
    if prune.schedule != "one-shot" and alike and prune.begin > prune.end:
        yield f"begins at {prune.begin:g}, after its end at {prune.end:g}", "raise prune.end"
    if prune.allocation != "sensitivity" and prune.initial > prune.final:
        yield f"initial sparsity {prune.initial} is above the final {prune.final:g}", "lower prune.initial"


def _of_pattern(prune: Prune) -> Iterator[tuple[str, str]]:
    pattern = patterns.parse(prune.pattern)
    if pattern.gone == pattern.size:
        return
    if prune.sparsity is not None and prune.sparsity != pattern.zeros:
        yield (
            f"pattern={prune.pattern} makes {pattern.zeros:g} of the weights zero, not {prune.sparsity:g}",
            "leave prune.sparsity out",
        )
    if prune.allocation not in ("global", "uniform"):
        yield (
            f"pattern={prune.pattern} sets each layer's sparsity, which leaves allocation={prune.allocation} "
            "nothing to do",
            "leave prune.allocation out",
        )
    if any(prune.layers.values()):
        yield (
            f"pattern={prune.pattern} sets each layer's sparsity",
            "use prune.exclude instead of prune.layers",
        )


def _check_data(prune: Prune, context: Context) -> None:
    now = prune.at_once or (prune.schedule != "one-shot" and (prune.initial > 0 or prune.end == 0))
    if prune.criterion in STATISTICS and now and context.gradients is None:
        raise prune.error(f"criterion={prune.criterion} needs labelled images", fix="give --data")
    if prune.criterion == "obs" and context.grams is None:
        raise prune.error("criterion=obs needs real images", fix="give --data")


def _check_names(prune: Prune, model: Model) -> None:
    for option, names in (("exclude", prune.exclude), ("layers", tuple(prune.layers))):
        lost = unmatched(model.graph, names)
        if lost:
            raise prune.error(
                f"{option} names {lost}, which is no weighted layer", fix=nearest(model.graph, lost)
            )
    hidden = shadowed(model.graph, tuple(prune.layers))
    if hidden:
        raise prune.error(f"layers names {hidden}, but earlier patterns match it all", fix="put it first")
    for weight in graphs.weights(model.graph):
        if excluded(weight, prune.exclude) and excluded(weight, tuple(prune.layers)):
            raise prune.error(f"{weight.name} is in exclude and in layers", fix="name it in one of them")


def _nothing(prune: Prune, model: Model) -> PassError:
    reasons = {name: reason for name, reason in prune.selection(model).left.items() if reason}
    if reasons:
        return prune.error(
            f"there is no weight to prune; {'; '.join(lines(reasons))}", fix="set prune.pattern anew"
        )
    return prune.error("there is no weight to prune", fix="loosen prune.exclude or prune.keep_*")


def measured_shares(prune: Prune, model: Model) -> dict[str, float]:
    """Share of zeros by weight from the curves of ``prune.sensitivity``, for all that needs one.

    Raises:
        PassError: the file cannot be read, is of another model or pattern, or no layer may lose anything.
    """
    assert prune.sensitivity is not None
    assert prune.max_drop is not None
    try:
        found = curves.read(prune.sensitivity)
    except ValueError as error:
        raise prune.error(
            f"{prune.sensitivity}: {error}", fix="let onnxcomp sensitivity write it anew"
        ) from error
    where, selection = prune.sensitivity, prune.selection(model)
    known = {weight.name for weight in graphs.weights(model.graph)}
    strange = next((name for name in found["layers"] if name not in known), "")
    if strange:
        raise prune.error(
            f"{where} is of another model: this one has no weight {strange}", fix="measure this one"
        )
    asked = [name for name in selection.chosen if name not in selection.shares]
    lacking = next((name for name in asked if name not in found["layers"]), "")
    if lacking:
        raise prune.error(f"{where} has no curve of {lacking}", fix="measure it, or add it to prune.exclude")
    if found.get("pattern", prune.pattern) != prune.pattern:
        raise prune.error(
            f"{where} was measured with pattern={found['pattern']}", fix=f"measure with {prune.pattern}"
        )
    shares = allocation.shares_for_drop(found, prune.max_drop)
    if not selection.shares and not any(shares[name] for name in asked):
        raise prune.error(
            f"no layer may lose anything within {prune.max_drop:g} points", fix="raise prune.max_drop"
        )
    return {name: shares[name] for name in asked}
