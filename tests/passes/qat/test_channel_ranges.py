"""Channel ranges against numpy on all images at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from onnxcomp.calibration import ImageCalibration
from onnxcomp.errors import ModelError
from onnxcomp.model import Model, from_proto
from onnxcomp.passes.qat.channel_ranges import channel_ranges
from tests import run, zoo


def batches(model: Model, *sizes: int) -> ImageCalibration:
    images = [run.images(model, size, seed=size) for size in sizes]
    return ImageCalibration(lambda: images, 1)


def test_largest_magnitude_of_each_channel_over_batches() -> None:
    model = from_proto(zoo.resnet())
    name = "/layer1/layer1.0/relu/Relu_output_0"
    grids = {name: np.arange(12).reshape(1, 12, 1, 1), "input": np.array([12, 13, -1]).reshape(1, 3, 1, 1)}
    found = channel_ranges(model, batches(model, 3, 5, 2), [name, "input"], grids, 15)
    inside = model.copy()
    inside.graph.outputs = [inside.graph.tensors()[name]]
    images = np.concatenate([run.images(model, size, seed=size) for size in (3, 5, 2)])
    values = run.outputs(inside, images)[name]
    # Another batch size sums convolutions in another order.
    np.testing.assert_allclose(found[:12], np.abs(values).max(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_array_equal(found[12:14], np.abs(images).max(axis=(0, 2, 3))[:2].astype(np.float64))
    assert found[14] == 0


def test_a_channel_in_several_places_has_the_largest_range() -> None:
    model = from_proto(zoo.mlp())
    grids = {"input": np.zeros((1, 3, 1, 1), np.int64), "active": np.full((1, 32), 0)}
    together = channel_ranges(model, batches(model, 4), ["input", "active"], grids, 1)
    alone = [channel_ranges(model, batches(model, 4), [name], grids, 1) for name in ("input", "active")]
    assert together == np.maximum(*alone)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_activation_that_is_not_finite_is_refused(value: float) -> None:
    class Broken(run.Observed):
        def run(self, model: Model, tensors: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
            for values in super().run(model, tensors):
                values[tensors[-1]][1, 2] = value
                yield values

    model = from_proto(zoo.mlp())
    grids = {"active": np.arange(32).reshape(1, 32)}
    with pytest.raises(ModelError, match="calibration: activation active is not finite"):
        channel_ranges(model, Broken(), ["active"], grids, 32)
