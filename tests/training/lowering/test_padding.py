from __future__ import annotations

import pytest

from onnxcomp.training.lowering.padding import lower_padding
from tests.training import networks
from tests.training.lowering import forward


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 1), (3, 2), (4, 3)])
def test_auto_pad_is_written_out(mode: str, kernel: int, stride: int) -> None:
    proto = networks.around("MaxPool", kernel_shape=[kernel] * 2, strides=[stride] * 2, auto_pad=mode)
    model = networks.compression(proto)
    training = forward.skeleton(model)
    assert lower_padding(training.graph) == (mode != "VALID")
    assert not any("auto_pad" in node.attrs for node in training.graph.nodes)
    forward.assert_same(forward.run(training), forward.run_model(model), 0)
