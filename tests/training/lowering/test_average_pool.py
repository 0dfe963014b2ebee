from __future__ import annotations

from typing import Any

import pytest

from onnxcomp.training.lowering.average_pool import lower_average_pool
from tests.training import networks
from tests.training.lowering import forward


@pytest.mark.parametrize(
    ("attributes", "count"),
    [
        ({"kernel_shape": [2, 2], "strides": [2, 2]}, 1),
        ({"kernel_shape": [4, 2], "strides": [4, 2]}, 1),
        ({"kernel_shape": [8, 8]}, 0),
        ({"kernel_shape": [3, 3], "strides": [3, 3]}, 0),
        ({"kernel_shape": [2, 2], "strides": [1, 1]}, 0),
        ({"kernel_shape": [2, 2], "strides": [2, 2], "pads": [0, 0, 1, 1]}, 0),
    ],
)
@pytest.mark.parametrize("opset", [17, 18])
def test_only_windows_that_tile_the_image(attributes: dict[str, Any], count: int, opset: int) -> None:
    model = networks.compression(networks.around("AveragePool", opset=opset, **attributes))
    training = forward.skeleton(model)
    assert lower_average_pool(training.graph) == count
    forward.assert_same(forward.run(training), forward.run_model(model), 1e-6)
