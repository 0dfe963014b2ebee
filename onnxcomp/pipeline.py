"""Apply a recipe: requires, apply, ensures and unique names pass by pass, then all that holds of a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import onnx_graphsurgeon as gs

from onnxcomp import graphs, losses
from onnxcomp import recipe as recipes
from onnxcomp.errors import ModelError, PassError
from onnxcomp.model import Form, Model, Role
from onnxcomp.passes.base import Calibration, Change, Context, Gradients, Grams, Placement
from onnxcomp.recipe import Recipe
from onnxcomp.roles import parameters
from onnxcomp.verify import check_names, verify


@dataclass(frozen=True)
class Step:
    """One pass as it was applied.

    Attributes:
        name: of the pass.
        change: what it did.
        seconds: how long it took, calibration included.
    """

    name: str
    change: Change
    seconds: float = field(compare=False)


def apply(
    model: Model,
    recipe: Recipe,
    *,
    calibration: Calibration | None = None,
    grams: Grams | None = None,
    gradients: Gradients | None = None,
    alignment: int = 1,
    placement: Placement = "tensorrt",
    report: Callable[[Step], None] = lambda step: None,
    rehearse: bool = False,
) -> Model:
    """Write the compression form of ``model``; the argument itself is left as it is.

    A model that is in compression form already is extended: its recipe and ``recipe`` together
    must be in a legal order.

    Args:
        calibration, grams, gradients, alignment, placement: see :class:`onnxcomp.passes.base.Context`.
        report: called after each pass.
        rehearse: let each pass do what :meth:`onnxcomp.passes.base.Pass.rehearsal` does instead.

    Raises:
        RecipeError: the order is not legal.
        PassError: a pass does not apply; or the model is deployable already.
        ModelError: the model is quantised already, gives probabilities, or a tensor's name is taken.
    """
    applied = recipes.parse(model.recipe) if model.recipe else Recipe()
    (applied + recipe).check_order()
    if model.form is Form.DEPLOYABLE:
        raise PassError(
            "the model is finalised", where=str(recipe), fix="apply the passes to the file before finalize"
        )
    original = original_of(model)
    _check_trainable(original)
    for step in recipe.passes:
        step.precheck(original)
    result = model.copy()
    losses.remove_total(result)
    for index, step in enumerate(recipe.passes):
        before = applied.passes + recipe.passes[:index]
        context = Context(original, calibration, grams, gradients, alignment, placement, before)
        start = time.perf_counter()
        step.requires(result, context)
        acting = step.rehearsal() if rehearse else step
        change = acting.apply(result, context)
        check_names(result, where=step.name)
        acting.ensures(result)
        report(Step(step.name, change, time.perf_counter() - start))
    result.recipe = str(applied + recipe)
    _close(result)
    verify(result, where=result.recipe)
    return result


def with_task_loss(model: Model) -> Model:
    """The compression form of an empty recipe: ``model`` with labels and cross-entropy, trainable.

    A model in compression form is returned as it is.

    Raises:
        ModelError: the model is quantised already or gives probabilities.
    """
    if model.form is Form.COMPRESSION:
        return model
    _check_trainable(model)
    result = model.copy()
    _close(result)
    return result


QUANTIZED_OPS = (
    *("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear"),
    *("QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"),
)
PROBABILITY_OPS = ("Softmax", "LogSoftmax", "Sigmoid")


def _check_trainable(model: Model) -> None:
    """Refuse what trains wrongly rather than not at all.

    A network that another tool quantised: its zero points and integers have no gradient. One that
    ends in probabilities: the losses take logits.
    """
    for node in model.graph.nodes:
        if node.op in QUANTIZED_OPS:
            raise ModelError(
                f"is quantised already: node {node.name} is {node.op}",
                where=model.graph.name,
                fix="start from the float32 network",
            )
    last = model.logits.inputs[0]
    if last.op in PROBABILITY_OPS:
        raise ModelError(
            f"ends in {last.op} (node {last.name}); the losses take logits",
            where=model.graph.name,
            fix=f"export it without its last {last.op}",
        )


def original_of(model: Model) -> Model:
    """The network without masks, Q/DQ, teacher and losses: a copy, with the weights as they are."""
    original = model.copy()
    losses.remove_losses(original)
    for node in original.graph.nodes:
        for index, tensor in enumerate(node.inputs):
            node.inputs[index] = _before_passes(tensor)
    original.graph.cleanup(remove_unused_graph_inputs=False)
    original.form = Form.INFERENCE
    original.recipe = ""
    original.roles = {}
    return original


def _before_passes(tensor: gs.Tensor) -> gs.Tensor:
    """What ``tensor`` was before Q/DQ and mask; constants are handled by their readers."""
    while tensor.inputs and tensor.inputs[0].name.startswith((graphs.QAT_PREFIX, graphs.PRUNE_PREFIX)):
        tensor = tensor.inputs[0].inputs[0]
    return tensor


def _close(model: Model) -> None:
    losses.add_total(model)
    model.roles = {name: role for name, role in model.roles.items() if role is not Role.TRAINABLE}
    model.roles.update(parameters(model))
