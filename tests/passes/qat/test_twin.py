"""Two networks in one graph: each answers as it does alone."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import pipeline, recipe
from onnxcomp.calibration import ImageCalibration
from onnxcomp.errors import PassError
from onnxcomp.model import Model, from_proto
from onnxcomp.passes.qat import partial
from onnxcomp.passes.qat.twin import PREFIX, Probe, averages, beside
from onnxcomp.student import student
from tests import run, zoo

EVERY = {**zoo.ALL, **zoo.MORE}


def quantized(name: str, *, opset: int = 17, passes: str = "qat") -> tuple[Model, Model]:
    model = from_proto(EVERY[name](opset=opset))
    return model, pipeline.apply(model, recipe.parse(passes), calibration=run.Observed())


@pytest.mark.parametrize("name", EVERY)
def test_both_answer(name: str) -> None:
    model, after = quantized(name)
    twin = beside(after, model)
    logits = model.logits.name
    calibration = ImageCalibration(lambda: [run.images(model, 4), run.images(model, 3, seed=1)], 1)
    found = list(calibration.run(twin, [logits, PREFIX + logits]))
    assert [len(values[logits]) for values in found] == [4, 3]
    for values, images in zip(found, calibration.batches(), strict=True):
        for name, alone in ((logits, after), (PREFIX + logits, model)):
            expected = run.logits(alone, images)
            # ONNX Runtime fuses here: a rounding of an activation may fall to the other side.
            atol = (0.02 if alone is after else 1e-5) * np.abs(expected).max()
            np.testing.assert_allclose(values[name], expected, rtol=0, atol=atol)


def test_weights_that_both_have_are_held_once() -> None:
    _, after = quantized("densenet")
    both = beside(after, partial.only(after, ()))
    assert set(both.constants()) == set(student(after).constants())


def test_another_network_is_refused() -> None:
    _, after = quantized("densenet")
    with pytest.raises(PassError, match=r"the reference network: takes input \(3, 8, 8\), the quantised one"):
        beside(after, from_proto(zoo.mlp(size=8)))


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_means_over_images(opset: int) -> None:
    model = from_proto(zoo.resnet(opset=opset))
    name, logits = "/layer1/layer1.0/relu/Relu_output_0", model.logits.name
    inside = model.copy()
    inside.graph.outputs = [inside.graph.tensors()[name], inside.logits]
    batches = [run.images(model, 4), run.images(model, 2, seed=1)]
    values = run.outputs(inside, np.concatenate(batches))
    probe = Probe(model)
    outputs = {
        "channels": probe.mean(probe.tensor(name), 4, 1, keep=False).name,
        "logits": probe.mean(probe.tensor(logits), 2, -1, keep=True).name,
    }
    found = averages(model, ImageCalibration(lambda: batches, 1), outputs)
    # float32 sums in another order.
    np.testing.assert_allclose(found["channels"], values[name].mean(axis=(0, 2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["logits"], values[logits].mean(axis=0), rtol=1e-4, atol=1e-5)


def test_replaced_tensors_are_read_by_the_network_and_not_by_what_was_added() -> None:
    model = from_proto(zoo.mlp())
    images = run.images(model)
    probe = Probe(model)
    hidden = probe.tensor("hidden")
    doubled = probe.node("Add", [hidden, hidden])
    probe.replace(hidden, doubled)
    before = run.logits(from_proto(zoo.mlp()), images)
    model.graph.toposort()
    constants = model.constants()
    bias = constants["b2"].values
    # Relu lets the factor 2 pass.
    np.testing.assert_allclose(run.logits(model, images) - bias, 2 * (before - bias), rtol=1e-4, atol=1e-5)
