"""Tests of onnxcomp.training.weight_ranges."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import graphs
from onnxcomp.model import Model, Role
from onnxcomp.passes.qat.scales import weight_scale
from onnxcomp.training import quantization
from onnxcomp.training.weight_ranges import FLOOR, StepSizes, WeightRanges, learned
from tests.training.networks import zoo_compression


def made(name: str, options: str) -> tuple[Model, dict[str, np.ndarray]]:
    """A network whose weights have all moved, some of them far."""
    model = zoo_compression(name, f"qat{{{options}}}")
    quantization.learn_scales(model)
    constants = model.constants()
    values = {name: constants[name].values.copy() for name in model.roles}
    rng = np.random.default_rng(0)
    for weight in graphs.weights(model.graph):
        values[weight.name] *= rng.normal(1, 0.5, weight.tensor.shape).astype(np.float32)
    return model, values


def weights(model: Model) -> list[tuple[str, str, int]]:
    pairs = [pair for pair in graphs.quantizers(model.graph) if pair.weight is not None]
    return [(pair.weight.name, pair.scale.name, pair.axis) for pair in pairs]  # type: ignore[union-attr]


def levels(values: dict[str, np.ndarray], one: tuple[str, str, int]) -> np.ndarray:
    weight, scale, axis = one
    return np.rint(values[weight] / graphs.along(values[scale], axis, values[weight].ndim))


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("name", ["densenet", "mlp"])
def test_frozen_scales_of_the_largest_weight_follow_it(name: str, bits: int) -> None:
    model, values = made(name, f"weight_bits={bits}")
    before = {key: array.copy() for key, array in values.items()}
    WeightRanges(model).settle(values, rounded=True)
    for one in weights(model):
        weight, scale, axis = one
        np.testing.assert_array_equal(values[weight], before[weight])
        np.testing.assert_array_equal(values[scale], weight_scale(values[weight], axis, bits=bits))
        assert np.abs(levels(values, one)).max() == 2 ** (bits - 1) - 1
    assert not WeightRanges(model).finishes


@pytest.mark.parametrize("bits", [3, 8])
@pytest.mark.parametrize("name", ["densenet", "mlp"])
def test_frozen_scales_of_least_error_stay_and_no_weight_clips(name: str, bits: int) -> None:
    model, values = made(name, f"weights=mse weight_bits={bits}")
    before = {key: array.copy() for key, array in values.items()}
    ranges, end = WeightRanges(model), 2 ** (bits - 1) - 1
    ranges.settle(values, rounded=True)
    clipped = 0
    for one in weights(model):
        weight, scale, _ = one
        np.testing.assert_array_equal(values[scale], before[scale])
        np.testing.assert_array_equal(levels(values, one), np.clip(levels(before, one), -end, end))
        clipped += int(np.count_nonzero(values[weight] != before[weight]))
    assert clipped > 10
    once = {key: array.tobytes() for key, array in values.items()}
    ranges.settle(values, rounded=True)
    assert {key: array.tobytes() for key, array in values.items()} == once


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("method", ["max", "mse"])
def test_learned_scales_stay_above_their_floor_and_weights_where_they_are(method: str, bits: int) -> None:
    model, values = made("densenet", f"scales=learned weights={method} weight_bits={bits}")
    ranges = WeightRanges(model)
    first = {name: values[name].copy() for name in learned(model)}
    for name in first:
        values[name] *= np.float32(0.3)
    (low, *_) = first
    values[low] *= np.float32(-1)
    before = {key: array.copy() for key, array in values.items()}
    ranges.settle(values, rounded=True)
    np.testing.assert_array_equal(values[low], first[low] * np.float32(FLOOR))
    assert (values[low] > 0).all()
    assert all(np.array_equal(values[key], before[key]) for key in values if key != low)
    assert ranges.finishes


@pytest.mark.parametrize("bits", [4, 8])
def test_what_is_saved_has_the_integers_of_training(bits: int) -> None:
    model, values = made("densenet", f"scales=learned weight_bits={bits}")
    ranges, end = WeightRanges(model), 2 ** (bits - 1) - 1
    saved = dict(values)
    ranges.finish(saved)
    beyond = 0
    for one in weights(model):
        inner = np.clip(levels(values, one), -end, end)  # of which INT8 Q/DQ knows nothing
        np.testing.assert_array_equal(np.clip(levels(saved, one), -128, 127), inner)
        beyond += int(np.count_nonzero(levels(values, one) != inner))
        assert saved[one[0]] is not values[one[0]]
    assert beyond > 10
    again = dict(saved)
    ranges.finish(again)
    assert all(np.array_equal(again[key], saved[key]) for key in saved)


def test_until_weights_are_rounded_their_scales_follow_them() -> None:
    model, values = made("densenet", "scales=learned begin_weights=0.5")
    before = {key: values[key].copy() for key in learned(model)}
    WeightRanges(model).settle(values, rounded=False)
    for weight, scale, axis in weights(model):
        np.testing.assert_array_equal(values[scale], weight_scale(values[weight], axis))
        assert not np.array_equal(values[scale], before.pop(scale))
    assert before  # those of activations stay
    assert all(np.array_equal(values[key], array) for key, array in before.items())


def test_the_gradient_scale_is_the_papers() -> None:
    """Section 2.2: one over the root of the number of elements times the highest level."""
    model, _ = made("densenet", "scales=learned placement=ort-cpu")
    factors = StepSizes(model).factors
    assert set(factors) == learned(model)
    sizes: dict[str, int] = {}
    top: dict[str, int] = {}
    for pair in graphs.quantizers(model.graph):
        name, zero = pair.scale.name, pair.quantize.inputs[2]
        if pair.weight is None:
            count = int(np.prod(pair.source.shape[1:]))
            top[name] = 127 if zero.dtype == np.int8 else 255 - int(zero.values)
        else:
            count = pair.weight.values.size // pair.scale.values.size
            top[name] = 127
        sizes[name] = sizes.get(name, 0) + count
    assert len(sizes) < len(list(graphs.quantizers(model.graph)))  # some share
    assert len(set(top.values())) > 2
    for name, factor in factors.items():
        assert factor == pytest.approx((sizes[name] * top[name]) ** -0.5, rel=1e-6)


def test_gradients_of_scales_alone_are_scaled() -> None:
    model, values = made("mlp", "scales=learned")
    gradients = {name: np.ones_like(values[name]) for name in values}
    step_sizes = StepSizes(model)
    step_sizes(gradients)
    for name, gradient in gradients.items():
        expected = step_sizes.factors[name] if model.roles[name] is Role.LEARNED_SCALE else 1
        assert (gradient == np.float32(expected)).all()


def test_a_step_changes_a_learned_scale_by_a_hundredth_at_most() -> None:
    model, _ = made("densenet", "scales=learned")
    sizes = StepSizes(model)
    assert sizes.factors
    constants = model.constants()
    values = {name: constants[name].values.copy() for name in sizes.factors}
    before = {name: array.copy() for name, array in values.items()}
    with sizes.bounded(values):
        for index, array in enumerate(values.values()):
            array *= (0.0, 0.995, 50.0)[index % 3]
    for index, name in enumerate(values):
        expected = before[name] * np.float32((0.99, 0.995, 1.01)[index % 3])
        np.testing.assert_allclose(values[name], expected, rtol=1e-6)
