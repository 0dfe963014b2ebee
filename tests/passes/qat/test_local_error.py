from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import graphs
from onnxcomp.model import from_proto
from onnxcomp.passes.qat import partial
from onnxcomp.passes.qat.local_error import local_errors
from tests import run
from tests.passes.qat.test_partial import NETWORKS, RUNTIMES, quantized
from tests.sensitivity.naive import SHARED, sharing


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("name", NETWORKS)
def test_errors_are_those_of_each_layer_quantised_alone(name: str, runtime: str) -> None:
    """Energies to 1e-3: sums of float32, in which one value of some thousands may round to the next step."""
    model = from_proto(NETWORKS[name]())
    given = quantized(model, runtime=runtime)  # type: ignore[arg-type]
    calibration = run.Observed(8)
    found = local_errors(given, model, calibration)
    assert set(found) == set(partial.layers(given))
    float_ = partial.only(given, ())
    outputs = {weight.name: weight.node.outputs[0].name for weight in graphs.weights(float_.graph)}
    (exact,) = (
        {key: value.copy() for key, value in batch.items()}
        for batch in calibration.run(float_, list(outputs.values()))
    )
    for layer in list(found)[::3]:
        output = outputs[layer]
        (batch,) = calibration.run(partial.only(given, [layer]), [output])
        signal = exact[output].astype(np.float64)
        expected = ((batch[output] - signal) ** 2).sum() / (signal**2).sum()
        assert found[layer] == pytest.approx(expected, rel=1e-3), layer
        assert 0 < found[layer] < 0.1


def test_a_weight_of_two_layers_has_the_larger_error() -> None:
    model, calibration = sharing(), run.Observed(8)
    given = quantized(model)
    float_, alone = partial.only(given, ()), partial.only(given, [SHARED])
    users = [weight.node for weight in graphs.weights(float_.graph) if weight.name == SHARED]
    first, second = (node.outputs[0].name for node in users)
    # The second one's input has the first one's error already, so only the first can be compared.
    (exact,), (other,) = (list(calibration.run(model, [first])) for model in (float_, alone))
    error = ((exact[first] - other[first]) ** 2).sum() / (exact[first] ** 2).sum()
    assert local_errors(given, model, calibration)[SHARED] >= error * (1 - 1e-4)
    assert first != second


def test_a_layer_that_gives_zeros_has_no_error() -> None:
    model = from_proto(NETWORKS["mlp"]())
    constants = model.constants()
    for name in ("w1", "b1"):
        constants[name].values = np.zeros_like(constants[name].values)
    found = local_errors(quantized(model), model, run.Observed(4))
    assert found["w1"] == 0
    assert found["w2"] == 0


def test_weights_that_were_rounded_are_compared_with_the_float_ones() -> None:
    """Weights on the grid of INT8 have an error beside those of the float network all the same."""
    model, calibration = from_proto(NETWORKS["mlp"]()), run.Observed(8)
    given = quantized(model)
    plain = local_errors(given, model, calibration)
    scale = given.constants()["w2.scale"].values
    rounded = given.constants()["w2"]
    rounded.values = (np.rint(rounded.values / scale) * scale).astype(np.float32)
    found = local_errors(given, model, calibration)
    assert found["w2"] == pytest.approx(plain["w2"], rel=1e-4)
    itself = local_errors(given, given, calibration)
    assert itself["w2"] < 0.95 * found["w2"]  # that of the input alone
