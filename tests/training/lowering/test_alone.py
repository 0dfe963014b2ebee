"""Each lowering that may stay off changes no number: losses and gradients with it and without it."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.model import Model, Role
from onnxcomp.training.engine import Engine, StepResult, build
from onnxcomp.training.lowering import (
    average_pool,
    channel_major,
    integer_kernels,
    merge_masks,
    projected,
    relu_gradient,
    small_conv,
    views,
)
from tests import zoo
from tests.training import networks

# Relative to the norm of each gradient. Masks are exact; sums in another order round otherwise, and
# the integer kernels leave out a product with the scale and a quotient by it.
EXACT, SUMS, SCALES = 0.0, 1e-4, 1e-5
TOLERANCES = {
    average_pool.LOWERING.name: SUMS,
    channel_major.LOWERING.name: SUMS,
    small_conv.LOWERING.name: SUMS,
    relu_gradient.LOWERING.name: EXACT,
    merge_masks.LOWERING.name: EXACT,
    integer_kernels.LOWERING.name: SCALES,
    projected.LOWERING.name: EXACT,
    views.LOWERING.name: EXACT,
}
QUANTISED = (merge_masks.LOWERING.name, integer_kernels.LOWERING.name, projected.LOWERING.name)


def compression(name: str, lowering: str) -> Model:
    """Quantised only where the lowering is about that: else a sum in another order may move a level."""
    passes = "qat,distill" if lowering in QUANTISED else "distill"
    masked = name != "mlp" and lowering != views.LOWERING.name  # a masked weight is no view of a parameter
    return networks.zoo_compression(name, f"prune,{passes}" if masked else passes, size=16)


def stepped(model: Model, without: tuple[str, ...]) -> tuple[Engine, StepResult]:
    engine = build(model, batch_size=networks.BATCH, threads=1, projected=True, without=without)
    networks.disturb(engine, model)
    for name, role in model.roles.items():
        if role is Role.MASK:
            engine.parameters[name.removesuffix(".mask")][...] *= engine.parameters[name]
    return engine, engine.step(*networks.batch(size=model.image_shape[1]))


def hits(engine: Engine, lowering: str) -> int:
    return sum(rewrite.nodes for rewrite in engine.rewrites if rewrite.name == lowering)


@pytest.mark.parametrize("name", zoo.ALL)
@pytest.mark.parametrize("lowering", TOLERANCES)
def test_the_same_numbers_without_it(lowering: str, name: str) -> None:
    model = compression(name, lowering)
    (one, first), (two, second) = stepped(model, ()), stepped(model, (lowering,))
    assert hits(two, lowering) == 0
    tolerance = TOLERANCES[lowering]
    np.testing.assert_allclose(
        list(first.losses.values()), list(second.losses.values()), rtol=0.1 * tolerance, atol=0.01 * tolerance
    )
    np.testing.assert_allclose(first.logits, second.logits, rtol=0, atol=tolerance)
    for key, gradient in one.gradients.items():
        norm = max(float(np.linalg.norm(gradient)), 1e-6)
        assert np.linalg.norm(gradient - two.gradients[key]) <= tolerance * norm, key


@pytest.mark.parametrize("lowering", TOLERANCES)
def test_it_takes_nodes_of_some_network(lowering: str) -> None:
    counts = {
        name: hits(stepped(compression(name, lowering), ())[0], lowering) for name in ("densenet", "resnet")
    }
    if lowering == average_pool.LOWERING.name:  # where the layout does not take the pool along
        engine = stepped(compression("densenet", lowering), (channel_major.LOWERING.name,))[0]
        counts["densenet"] = hits(engine, lowering)
    assert max(counts.values()) > 0
