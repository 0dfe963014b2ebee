from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp.training.engine import build
from onnxcomp.training.lowering import small_conv
from onnxcomp.training.lowering.channel_ops import Dims
from onnxcomp.training.lowering.small_conv import form_of
from tests.training import networks
from tests.training.lowering.test_channel_major import small_conv as network

Form = Callable[..., None]
TOLERANCE = 1e-4  # relative to the norm of each gradient; measured: below 1e-6

# Input pixels (a side), attributes, and the form that is chosen for 8 input and 12 output channels.
CASES: dict[str, tuple[int, dict[str, Any], Form]] = {
    "one pixel": (1, {"kernel_shape": [3, 3], "pads": [1] * 4}, small_conv.one_output_pixel),
    "four pixels to one": (
        2,
        {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]},
        small_conv.one_output_pixel,
    ),
    "more outputs": (2, {"kernel_shape": [3, 3], "pads": [1] * 4}, small_conv.gathered_inputs),
    "strided": (
        4,
        {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]},
        small_conv.gathered_inputs,
    ),
    "1x1, strided": (4, {"kernel_shape": [1, 1], "strides": [2, 2]}, small_conv.gathered_inputs),
    "uneven padding": (4, {"kernel_shape": [3, 3], "pads": [0, 1, 2, 1]}, small_conv.gathered_inputs),
    "dilated": (
        4,
        {"kernel_shape": [3, 3], "pads": [2] * 4, "dilations": [2, 2]},
        small_conv.gathered_inputs,
    ),
    "5x3": (2, {"kernel_shape": [5, 3], "pads": [2, 1, 2, 1]}, small_conv.gathered_inputs),
}


def form(attributes: dict[str, Any], source: Dims, target: Dims) -> Form | None:
    shape = (target.channels, source.channels // attributes.get("group", 1), *attributes["kernel_shape"])
    weight = gs.Constant("w", np.zeros(shape, np.float32))
    return form_of(gs.Node("Conv", "c", attributes, [gs.Variable("x"), weight]), source, target)


@pytest.mark.parametrize("forced", [None, small_conv.gathered_inputs, small_conv.scattered_outputs])
@pytest.mark.parametrize("case", CASES)
def test_every_form_gives_the_gradients_of_a_convolution(
    case: str, forced: Form | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    size, attributes, expected = CASES[case]
    model = networks.compression(network(size, **attributes))
    plain = build(model, batch_size=networks.BATCH, threads=1, without=[small_conv.LOWERING.name])
    chosen: list[Form | None] = []

    def choose(node: gs.Node, source: Dims, target: Dims) -> Form | None:
        found = form_of(node, source, target)
        if node.inputs[1].name == "middle.weight":
            found = forced or found
            chosen.append(found)
        return found

    monkeypatch.setattr(small_conv, "form_of", choose)
    engine = build(model, batch_size=networks.BATCH, threads=1)
    assert chosen
    assert set(chosen) == {forced or expected}
    batch = networks.batch(size=model.image_shape[1])
    one, two = plain.step(*batch), engine.step(*batch)
    np.testing.assert_allclose(one.logits, two.logits, rtol=0, atol=1e-5)
    for name, gradient in plain.gradients.items():
        norm = max(float(np.linalg.norm(gradient)), 1e-6)
        assert np.linalg.norm(gradient - engine.gradients[name]) <= TOLERANCE * norm, name


@pytest.mark.parametrize(
    ("channels", "outputs", "size", "expected"),
    [
        (128, 32, 8, small_conv.scattered_outputs),  # DenseNet201's
        (128, 32, 4, small_conv.scattered_outputs),
        (512, 512, 2, small_conv.scattered_outputs),
        (256, 512, 4, small_conv.gathered_inputs),
        (256, 256, 8, None),  # as large as ONNX Runtime likes them
        (64, 64, 8, None),
        (128, 32, 16, None),
    ],
)
def test_off_where_it_does_not_pay(channels: int, outputs: int, size: int, expected: Form | None) -> None:
    attributes = {"kernel_shape": [3, 3], "pads": [1] * 4}
    assert form(attributes, Dims(32, channels, size, size), Dims(32, outputs, size, size)) is expected


def test_grouped_convolutions_stay() -> None:
    attributes = {"kernel_shape": [3, 3], "pads": [1] * 4, "group": 4}
    assert form(attributes, Dims(32, 64, 2, 2), Dims(32, 64, 2, 2)) is None


def test_a_convolution_called_as_another_nodes_output() -> None:
    """Nodes that lowerings write are called as the tensors they compute."""
    net = networks.Builder(1)
    x = networks.conv(net, "input", "first", 3, 32, kernel=1)
    x = net.node("HardSwish", [x], "gate", "swish")
    weight = net.constant("weight", net.he(64, 32, 3, 3))
    x = net.node("Conv", [x, weight], "small", "gate", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2])
    x = networks.conv(net, x, "last", 64, 32, kernel=1)
    proto = net.model(networks.head(net, x, "fc", 32, 10), 17, ("N", 3, 4, 4), 10)
    engine = build(networks.compression(proto), batch_size=2, threads=1)
    (count,) = [r.nodes for r in engine.rewrites if r.name == small_conv.LOWERING.name]
    assert count == 1
