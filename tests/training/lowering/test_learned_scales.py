"""Tests of onnxcomp.training.lowering.learned_scales: against the paper's formulas in float64."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from onnxcomp import graphs
from onnxcomp.model import Model, Role
from onnxcomp.training import quantization
from onnxcomp.training.lowering import PROJECTED
from onnxcomp.training.lowering.learned_scales import GRADIENTS
from tests.training import networks
from tests.training.lowering import pairs

TOLERANCE = 1e-7  # float32: of the sum of |dL/dq v / s|, of which rounding errors are differences
INT8 = "qat{scales=learned}"
SHARED = "qat{scales=learned concat=shared}"
UINT8 = "qat{scales=learned placement=ort-cpu}"
FOUR = "qat{scales=learned weight_bits=4}"
CASES = [("densenet", SHARED), ("resnet", INT8), ("mobilenet", UINT8), ("densenet", UINT8), ("mlp", FOUR)]


def learning(name: str, passes: str) -> Model:
    model = networks.zoo_compression(name, passes)
    quantization.learn_scales(model)
    return model


def clipping(model: Model, factor: float = 0.61) -> dict[str, np.ndarray]:
    """Scales so small that values lie beyond the range."""
    constants = model.constants()
    names = [name for name, role in model.roles.items() if role is Role.LEARNED_SCALE]
    return {name: np.asarray(constants[name].values * np.float32(factor)) for name in names}


def others(pair: pairs.Seen) -> tuple[int, ...]:
    """The axes that share a scale."""
    shape = pair.values.shape
    return tuple(i for i in range(pair.source.ndim) if not shape or shape[i] == 1)


def terms(step: pairs.Run) -> dict[str, np.ndarray]:
    """Sum of ``|dL/dq v / s|`` by scale."""
    found: dict[str, np.ndarray] = {}
    for pair in step.pairs:
        size = np.abs(pair.gradient * pair.levels).sum(others(pair)) + 1e-9
        found[pair.scale] = found.get(pair.scale, 0) + size
    return found


@pytest.mark.parametrize(("name", "passes"), CASES)
def test_the_gradients_of_scales_are_the_papers(name: str, passes: str) -> None:
    model = learning(name, passes)
    step = pairs.run(model, clipping(model))
    count = len(list(graphs.quantizers(model.graph)))
    assert len(step.pairs) == count
    expected: dict[str, np.ndarray] = {}
    sizes = terms(step)
    outside = 0
    for pair in step.pairs:
        expected[pair.scale] = expected.get(pair.scale, 0) + pair.parts.sum(others(pair))
        outside += int(np.count_nonzero(~pair.inside & (pair.source != 0)))
    assert outside > 100
    scales = {name for name, role in model.roles.items() if role is Role.LEARNED_SCALE}
    assert set(expected) == scales
    for scale, reference in expected.items():
        error = np.abs(step.gradients[scale] - reference)
        assert (error <= TOLERANCE * sizes[scale]).all(), scale
        assert np.linalg.norm(error) <= 1e-4 * np.linalg.norm(reference), scale
    if "shared" in passes or "ort-cpu" in passes:
        assert name == "mobilenet" or max(Counter(pair.scale for pair in step.pairs).values()) > 1


@pytest.mark.parametrize(("name", "passes"), CASES)
def test_weights_beyond_the_range_get_no_gradient_and_the_others_that_of_the_result(name, passes):
    model = learning(name, passes)
    step = pairs.run(model, clipping(model))
    masks = {weight: mask.values for weight, mask in graphs.masks(model.graph).items()}
    seen = 0
    for weight in {one.name for one in graphs.weights(model.graph)}:
        (pair,) = (pair for pair in step.pairs if pair.scale == f"{weight}.scale")
        expected = (pair.gradient * pair.inside).reshape(step.gradients[weight].shape)
        np.testing.assert_array_equal(step.gradients[weight], expected * masks.get(weight, np.float32(1)))
        assert not pair.inside.all()
        seen += 1
    assert seen


@pytest.mark.parametrize(("name", "passes"), CASES)
def test_the_form_before_has_the_same_numbers(name: str, passes: str) -> None:
    """Div, FakeQuant and Mul, as ONNX Runtime differentiates them."""
    model = learning(name, passes)
    arrays = clipping(model, 1.5)  # nothing lies within the last half step, on which the two disagree
    ours, theirs = pairs.run(model, arrays), pairs.run(model, arrays, without=(GRADIENTS.name,))
    np.testing.assert_array_equal(ours.logits, theirs.logits)
    assert set(ours.gradients) == set(theirs.gradients)
    sizes = terms(ours)
    for key, gradient in ours.gradients.items():
        error = np.abs(gradient - theirs.gradients[key])
        if key in sizes:  # theirs is the difference of two sums of such terms
            assert (error <= 2e-6 * sizes[key]).all(), key
        else:  # float32 sums in another order: 1.1e-5 of the first layer's, with AVX2
            assert np.linalg.norm(error) <= 3e-5 * max(np.linalg.norm(gradient), 1e-4), key  # type: ignore[operator]


def test_pruned_weights_stay_zero_and_add_nothing() -> None:
    model = learning("densenet", "prune,qat{scales=learned}")
    rng = np.random.default_rng(0)
    found = {weight: (m.name, rng.random(m.shape) > 0.5) for weight, m in graphs.masks(model.graph).items()}
    arrays = {name: mask.astype(np.float32) for name, mask in found.values()}
    step = pairs.run(model, clipping(model) | arrays, without=(PROJECTED,))
    assert found
    for weight, (_, mask) in found.items():
        (pair,) = (pair for pair in step.pairs if pair.scale == f"{weight}.scale")
        closed = ~mask.reshape(pair.source.shape)
        assert closed.any()
        assert not pair.result[closed].any()
        assert not pair.parts[closed].any()
        assert not step.gradients[weight][~mask].any()
