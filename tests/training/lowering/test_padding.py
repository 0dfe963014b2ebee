from __future__ import annotations

import pytest

from onnxcomp.training.lowering import lower, small_conv
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


def test_padding_in_channel_major_layout() -> None:
    net = networks.Builder(1)
    x = networks.conv(net, "input", "first", 3, 16, stride=2, bias=True)
    for name, stride in (("a", 2), ("b", 1)):
        weight = net.constant(f"{name}.weight", net.he(32, 16 if name == "a" else 32, 3, 3))
        attributes = {"kernel_shape": [3, 3], "strides": [stride] * 2, "auto_pad": "SAME_UPPER"}
        x = net.node("Relu", [net.node("Conv", [x, weight], name, name, **attributes)], f"{name}.active")
    proto = net.model(networks.head(net, x, "fc", 32, 10), 17, ("N", 3, 8, 8), 10)
    model = networks.compression(proto, "distill")
    training = lower(model, networks.BATCH)
    (small,) = [rewrite for rewrite in training.rewrites if rewrite.name == small_conv.LOWERING.name]
    assert small.nodes == 2
    forward.assert_same(forward.run(training), forward.run_model(model), 1e-5)
