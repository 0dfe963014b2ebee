"""Each lowering alone leaves the numbers of the compression form as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from onnxcomp.model import Model, Role
from onnxcomp.training import lowering
from onnxcomp.training.lowering import batch_norm
from onnxcomp.training.lowering.average_pool import lower_average_pool
from onnxcomp.training.lowering.channel_major import lower_channel_major
from onnxcomp.training.lowering.fake_quant import lower_fake_quant
from onnxcomp.training.lowering.parameters import Training
from tests import zoo
from tests.training import networks
from tests.training.lowering import forward

ALL = "prune,qat,distill"
# Q/DQ and FakeQuant round the same quotient; the other lowerings change the order of summation,
# which can move a value to the next of its 255 levels. Measured: 0 and at most 2e-6.
EXACT, ROUNDING = 0.0, 1e-5


def trainables(training: Training) -> set[str]:
    return set(training.names(Role.TRAINABLE))


LOWERINGS: dict[str, tuple[Callable[[Training], int], float]] = {
    "fake quant": (lambda t: lower_fake_quant(t.graph, trainables(t)), EXACT),
    "average pool": (lambda t: lower_average_pool(t.graph), ROUNDING),
    "channel major": (lambda t: lower_channel_major(t.graph), ROUNDING),
}


def model(name: str, passes: str) -> Model:
    return networks.zoo_compression(name, passes)


@pytest.mark.parametrize("name", LOWERINGS)
def test_densenet(name: str) -> None:
    lower, tolerance = LOWERINGS[name]
    compression = model("densenet", ALL if tolerance == EXACT else "prune,distill")
    training = forward.skeleton(compression)
    assert lower(training) > 0
    forward.assert_same(forward.run(training), forward.run_model(compression), tolerance)


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
@pytest.mark.parametrize("name", zoo.ALL | zoo.MORE)
def test_all_together_without_batch_norm(name: str, opset: int) -> None:
    """BatchNormalization is the one lowering that changes the numbers: training uses the batch's."""
    compression = networks.zoo_compression(name, "distill", opset=opset)
    training = lowering.lower(compression, networks.BATCH, without={batch_norm.LOWERING.name})
    forward.assert_same(forward.run(training), forward.run_model(compression), ROUNDING)
