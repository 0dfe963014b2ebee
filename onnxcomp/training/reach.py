"""Whether the losses of each stage reach the weights that a pass ranks by their gradients."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx_graphsurgeon as gs

from onnxcomp import graphs, recipe
from onnxcomp.errors import TrainingError
from onnxcomp.model import Model
from onnxcomp.passes.channels import Channels, scores
from onnxcomp.passes.prune import Prune, criteria
from onnxcomp.training.saliency import STEPS
from onnxcomp.training.stages import Stages


def check(model: Model, stages: Stages, steps: int) -> None:
    """Refuse a stage in which masks close by gradients and a masked weight has none: it would count 0.

    Raises:
        TrainingError: so it is; names the stage and a weight.
    """
    if not stages.several:
        return
    names = set(graphs.masks(model.graph))
    for step, criterion, first, last in _by_gradients(model, steps):
        for number, stretch in enumerate(stages.stretches, start=1):
            if stretch.start > last or stretch.stop <= first:
                continue
            missing = sorted(names - reached(model, [n for n, w in (stretch.losses or {}).items() if w]))
            if missing:
                raise TrainingError(
                    f"criterion={criterion} reads gradients, and no loss of stage {number} depends on"
                    f" {missing[0]}" + (f" and {len(missing) - 1} more" if missing[1:] else ""),
                    where=step,
                    fix=f"set {step}.criterion=magnitude, or let {step} begin in a stage whose losses do",
                )


def _by_gradients(model: Model, steps: int) -> Iterator[tuple[str, str, int, int]]:
    """Name, criterion, first and last step of each pass that gathers gradients in training."""
    for found in recipe.parse(model.recipe).passes if model.recipe else ():
        if isinstance(found, Prune) and found.criterion in criteria.STATISTICS and not found.at_once:
            schedule = found.over(steps)
        elif isinstance(found, Channels) and found.criterion in scores.STATISTICS:
            schedule = found.make_schedule(steps)
        else:
            continue
        yield found.name, found.criterion, max(schedule.begin - STEPS, 0), schedule.end


def reached(model: Model, losses: Iterable[str]) -> set[str]:
    """Names of the constants that the losses depend on."""
    tensors = model.graph.tensors()
    waiting: list[gs.Tensor] = [tensors[name] for name in losses]
    seen, found = set[int](), set[str]()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        if isinstance(tensor, gs.Constant):
            found.add(tensor.name)
        for node in tensor.inputs:
            waiting += node.inputs
    return found
