"""What the recipe's pass ``qat`` asks of training."""

from __future__ import annotations

from onnxcomp import graphs, recipe
from onnxcomp.model import Model, Role
from onnxcomp.passes.qat import Qat


def options(model: Model) -> Qat:
    """The options of the pass as it was applied; its defaults where it was not."""
    passes = recipe.parse(model.recipe).passes if model.recipe else ()
    return next((one for one in passes if isinstance(one, Qat)), Qat())


def levels(model: Model) -> int:
    """Quantised weights are the integers ``-levels..levels``."""
    return int(2 ** (options(model).weight_bits - 1) - 1)


def learn_scales(model: Model) -> None:
    """Give the student's scales the role of learned ones, in place, where the recipe wants it."""
    if options(model).scales == "learned":
        scales = {pair.scale.name for pair in graphs.quantizers(model.graph)}
        model.roles.update(
            (name, Role.LEARNED_SCALE) for name in scales if model.roles.get(name) is Role.SCALE
        )
