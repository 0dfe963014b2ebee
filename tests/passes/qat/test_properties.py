"""What holds of quantisation on every network: same answers without the pairs, nearby answers with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.model import from_proto, to_proto
from onnxcomp.passes.base import Placement
from tests import run
from tests.passes.channels.test_properties import several
from tests.random_graphs import Network, classifiers

RUNTIMES: tuple[Placement, ...] = ("tensorrt", "ort-cpu")


@pytest.mark.parametrize("runtime", RUNTIMES)
@several(60)
@given(network=classifiers(), concat=st.sampled_from(["auto", "measured", "shared", "each", "none"]))
def test_random_networks(runtime: Placement, network: Network, concat: str) -> None:
    model = from_proto(network.proto)
    text = f"qat{{concat={concat} pre_activation={'true' if concat == 'each' else 'false'}}}"
    quantized = pipeline.apply(model, recipe.parse(text), calibration=run.Observed(8), placement=runtime)
    images = run.images(model, 8, seed=1)  # those that it was calibrated on
    before = run.logits(model, images)
    np.testing.assert_array_equal(before, run.logits(pipeline.original_of(quantized), images))
    after = run.logits(from_proto(to_proto(quantized)), images)
    # A few layers of random weights: more than 10 dB, which a wrong scale or reader would not leave.
    assert ((before - after) ** 2).sum() < 0.1 * (before**2).sum() + 1e-6
    for pair in graphs.quantizers(quantized.graph):
        assert len(pair.quantize.outputs[0].outputs) == 1
        assert np.array_equal(pair.quantize.inputs[2].values, pair.dequantize.inputs[2].values)
        assert (pair.scale.values > 0).all()
        assert pair.per_channel == (pair.weight is not None)
