"""Equalisation leaves the float answers and brings the quantised ones nearer to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxcomp import pipeline, recipe
from onnxcomp.errors import ModelError
from onnxcomp.model import Model, from_proto
from onnxcomp.passes.qat.equalize import LIMIT, equalize
from onnxcomp.passes.qat.scaling import find, scale
from onnxcomp.passes.qat.sqnr import logits, sqnr
from tests import float64, run, zoo
from tests.builder import Builder, conv
from tests.classifiers import FOLDED, NETWORKS
from tests.passes.channels.small import classifier, ending, gemm
from tests.passes.qat.scaling.scaled import assert_same, changed

SMALL: dict[str, Callable[[], Model]] = {
    name: lambda build=build: from_proto(build())  # type: ignore[misc]
    for name, build in {**zoo.ALL, **zoo.MORE}.items()
}


@pytest.mark.parametrize("name", [*SMALL, *NETWORKS, *(f"folded/{name}" for name in FOLDED)])
def test_answers_stay(name: str) -> None:
    every = {**SMALL, **NETWORKS, **{f"folded/{key}": build for key, build in FOLDED.items()}}
    model = every[name]()
    after = model.copy()
    (note,) = equalize(after, run.Observed())
    assert note.startswith("equalised ")
    assert changed(model, after)
    assert_same(model, after, logits=float64.logits)


def disturbed(model: Model, octaves: float) -> Model:
    """The same function, its channels of random ranges."""
    scaling = find(model.graph)
    scale(scaling, 2 ** np.random.default_rng(0).uniform(-octaves, octaves, scaling.size))
    return model


def quality(model: Model, placement: str, options: str) -> float:
    seen = run.Observed()
    text = f"qat{{calibration=max {options}}}"
    quantized = pipeline.apply(model, recipe.parse(text), calibration=seen, placement=placement)  # type: ignore[arg-type]
    return sqnr(logits(model, seen), logits(quantized, seen))


@pytest.mark.parametrize("placement", ["tensorrt", "ort-cpu"])
@pytest.mark.parametrize("name", ["densenet", "vgg", "mobilenet", "mlp"])
def test_unequal_channels_are_made_equal(name: str, placement: str) -> None:
    model = disturbed(SMALL[name](), 3)
    before = quality(model, placement, "concat=shared")
    equalize(model, run.Observed())
    # Ranges up to 64 times apart cost several bits; 6 dB are one of them.
    assert quality(model, placement, "concat=shared") > before + 3


def test_a_dense_block_shares_one_scale_without_loss() -> None:
    model = disturbed(SMALL["densenet"](), 3)
    equalize(model, run.Observed())
    shared, each = (quality(model, "tensorrt", f"concat={mode}") for mode in ("shared", "each"))
    assert shared > each - 0.5


def test_free_channels_get_one_range() -> None:
    model = SMALL["densenet"]()
    equalize(model, run.Observed())
    wide = model.copy()
    norms = [node for node in wide.graph.nodes if node.op == "BatchNormalization"]
    block = [node.inputs[0] for node in norms if "denselayer2.norm1" in node.inputs[1].name]
    wide.graph.outputs = block
    for values in run.outputs(wide, run.images(model, 16, seed=1)).values():
        ranges = np.abs(values).max(axis=(0, 2, 3))
        # Behind a pool a channel may be smaller than before it; here there is none in between.
        np.testing.assert_allclose(ranges, ranges[0], rtol=1e-4)


def test_factors_balance_activations_and_weights() -> None:
    def write(net: Builder, x: str) -> str:
        x = net.node("Flatten", [x], "flat")
        x = net.node("Relu", [gemm(net, x, "a", 108, 8)], "active")
        return gemm(net, x, "b", 8, 5)

    model = ending(write)
    weight = np.abs(model.constants()["b.weight"].values).max(axis=0)
    inside = model.copy()
    inside.graph.outputs = [inside.graph.tensors()["active"]]
    ranges = run.outputs(inside, run.images(model, 16, seed=1))["active"].max(axis=0)
    before = model.constants()["a.weight"].values
    equalize(model, run.Observed())
    factors = model.constants()["a.weight"].values[:, 0] / before[:, 0]
    expected = np.sqrt(weight / ranges)
    # float32 in another order of operations.
    np.testing.assert_allclose(factors, expected / np.exp(np.log(expected).mean()), rtol=1e-4)


def test_dead_channels_keep_their_scale_and_factors_are_bounded() -> None:
    def write(net: Builder, x: str) -> str:
        return conv(net, net.node("Relu", [conv(net, x, "a", 3, 4)], "y"), "b", 4, 5)

    model = classifier(write, 5)
    constant = model.constants()["a.weight"]
    constant.values = constant.values * np.array([0, 1e-30, 1, 1e5], np.float32).reshape(4, 1, 1, 1)
    before = constant.values
    (note,) = equalize(model, run.Observed())
    values = model.constants()["a.weight"].values
    np.testing.assert_array_equal(values[:2], before[:2])
    factors = np.abs(values[2:]).max(axis=(1, 2, 3)) / np.abs(before[2:]).max(axis=(1, 2, 3))
    assert (factors <= LIMIT * (1 + 1e-6)).all()
    assert (factors >= (1 - 1e-6) / LIMIT).all()
    assert "channels" in note


def test_values_of_the_original_are_not_written_into() -> None:
    model = SMALL["densenet"]()
    before = {name: constant.values.copy() for name, constant in model.constants().items()}
    equalize(model.copy(), run.Observed())
    for name, constant in model.constants().items():
        np.testing.assert_array_equal(constant.values, before[name])


def test_nothing_to_scale() -> None:
    model = ending(lambda net, x: gemm(net, net.node("Flatten", [x], "flat"), "fc", 108, 5))
    assert equalize(model, run.Observed()) == ("equalize: there is no channel that can be scaled",)


def test_a_fixed_batch() -> None:
    model = from_proto(zoo.densenet(batch=4))
    after = model.copy()
    equalize(after, run.Observed(4))
    assert_same(model, after)


def test_an_activation_that_is_not_finite_is_refused() -> None:
    model = SMALL["densenet"]()
    constant = model.constants()["features.conv0.weight"]
    constant.values = np.full_like(constant.values, 3e38)
    with pytest.raises(ModelError, match=r"calibration: activation .* is not finite; check the weights"):
        equalize(model, run.Observed())
