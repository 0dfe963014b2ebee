from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxcomp.deploy import qdq
from onnxcomp.deploy.crop import Crops, crop_kernels
from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.model import from_proto
from onnxcomp.models.densenet import DenseNet
from tests.deploy.kinds import KINDS
from tests.deploy.networks import compressed, images, logits
from tests.deploy.test_qdq import pair, run

TOLERANCE = 1e-6
"""Of the largest answer: fewer zeros are added in another order."""


def convolution(size: tuple[int, int], kernel: tuple[int, int], group: int = 1, **attrs: Any) -> gs.Graph:
    x = gs.Variable("x", np.float32, (2, 4, *size))
    weight = np.random.default_rng(0).normal(size=(6 if group == 1 else 4, 4 // group, *kernel))
    y = gs.Variable("y", np.float32, ("N", len(weight), "H", "W"))
    attrs |= {"kernel_shape": list(kernel), "group": group}
    node = gs.Node("Conv", "conv", attrs, [x, gs.Constant("w", weight.astype(np.float32))], [y])
    return gs.Graph([node], [x], [y], opset=17)


def answers(graph: gs.Graph) -> np.ndarray:
    return run(graph, np.random.default_rng(1).normal(size=graph.inputs[0].shape).astype(np.float32))


def kernel(graph: gs.Graph) -> tuple[int, ...]:
    return tuple(graph.nodes[0].inputs[1].values.shape[2:])


@pytest.mark.parametrize(
    ("size", "before", "attrs", "after", "pads"),
    [
        ((1, 1), (3, 3), {"pads": [1, 1, 1, 1]}, (1, 1), [0, 0, 0, 0]),
        ((1, 1), (3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}, (1, 1), [0, 0, 0, 0]),
        ((1, 1), (3, 3), {"pads": [1, 1, 1, 1], "group": 4}, (1, 1), [0, 0, 0, 0]),
        ((1, 5), (3, 3), {"pads": [1, 1, 1, 1]}, (1, 3), [0, 1, 0, 1]),
        ((2, 2), (3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}, (2, 2), [0, 0, 0, 0]),
        ((2, 2), (5, 5), {"pads": [2, 2, 2, 2]}, (3, 3), [1, 1, 1, 1]),
        ((2, 2), (7, 7), {"pads": [3, 3, 3, 3], "strides": [2, 2]}, (2, 2), [0, 0, 0, 0]),
        ((3, 3), (3, 3), {"pads": [4, 4, 4, 4], "dilations": [4, 4]}, (1, 1), [0, 0, 0, 0]),
        ((1, 1), (3, 3), {"auto_pad": "SAME_UPPER"}, (1, 1), [0, 0, 0, 0]),
        ((2, 2), (4, 4), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}, (2, 2), [0, 0, 0, 0]),
    ],
)
def test_taps_that_meet_padding_alone_go(
    size: tuple[int, int], before: tuple[int, int], attrs: Any, after: tuple[int, int], pads: list[int]
) -> None:
    graph = convolution(size, before, **attrs)
    expected, weights = answers(graph), graph.nodes[0].inputs[1].values.size
    found = crop_kernels(graph)
    assert kernel(graph) == after
    assert found == Crops(1, weights - graph.nodes[0].inputs[1].values.size)
    assert graph.nodes[0].attrs["kernel_shape"] == list(after)
    assert graph.nodes[0].attrs["pads"] == pads
    answer = answers(graph)
    assert answer.shape == expected.shape
    assert np.abs(answer - expected).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize(
    ("size", "before", "attrs"),
    [
        ((8, 8), (3, 3), {"pads": [1, 1, 1, 1]}),
        ((2, 2), (3, 3), {"pads": [1, 1, 1, 1]}),
        ((1, 1), (1, 1), {}),
        ((3, 3), (3, 3), {"auto_pad": "VALID"}),
        ((3, 3), (3, 3), {}),
    ],
)
def test_kernels_that_are_used_stay(size: tuple[int, int], before: tuple[int, int], attrs: Any) -> None:
    graph = convolution(size, before, **attrs)
    assert crop_kernels(graph) == Crops()
    assert kernel(graph) == before


@settings(max_examples=60)
@given(
    size=st.integers(1, 6),
    taps=st.integers(1, 5),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 3),
    begin=st.integers(0, 6),
    end=st.integers(0, 6),
)
def test_answers_stay_for_any_convolution(
    size: int, taps: int, stride: int, dilation: int, begin: int, end: int
) -> None:
    if size + begin + end < dilation * (taps - 1) + 1:
        return
    attrs: dict[str, Any] = {"pads": [begin, 1, end, 1], "strides": [stride, 1], "dilations": [dilation, 1]}
    graph = convolution((size, 3), (taps, 3), **attrs)
    expected = answers(graph)
    crop_kernels(graph)
    answer = answers(graph)
    assert answer.shape == expected.shape
    assert np.abs(answer - expected).max() <= TOLERANCE * max(1, np.abs(expected).max())


def test_shared_weights_and_unknown_sizes_stay() -> None:
    graph = convolution((1, 1), (3, 3), pads=[1, 1, 1, 1])
    again = gs.Variable("z", np.float32, graph.outputs[0].shape)
    first = graph.nodes[0]
    graph.nodes.append(gs.Node("Conv", "again", dict(first.attrs), list(first.inputs), [again]))
    graph.outputs.append(again)
    assert crop_kernels(graph) == Crops()
    graph = convolution((1, 1), (3, 3), pads=[1, 1, 1, 1])
    graph.inputs[0].shape = (2, 4, "H", "W")
    assert crop_kernels(graph) == Crops()


def test_integer_weights_are_cropped_with_their_scales() -> None:
    graph = convolution((1, 1), (3, 3), pads=[1, 1, 1, 1])
    weight = graph.nodes[0].inputs[1]
    scale = np.abs(weight.values).max((1, 2, 3)) / 127
    graph.nodes[0].inputs[1] = pair(graph, weight, "w", scale, axis=0)
    graph.toposort()
    qdq.store_integers(graph)
    expected = answers(graph)
    assert crop_kernels(graph).kernels == 1
    assert graph.tensors()["w.quantized"].values.shape == (6, 4, 1, 1)
    assert np.abs(answers(graph) - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_every_target_gets_the_smaller_kernels() -> None:
    """A DenseNet whose last block works on 1x1 maps."""
    net = DenseNet(growth=4, blocks=(1, 1, 1, 1, 1, 2), features=8)
    before = from_proto(net.proto("dense", num_classes=10, input_size=32, stem="cifar", seed=1))
    batch = images(before, 8)
    expected = logits(before, batch)
    for target in KINDS.values():
        after, report = finalize_report(before, target)
        assert report.crops == Crops(2, 2 * 8 * 16 * 4)
        assert f"cropped 2 kernels: {2 * 8 * 16 * 4:,} weights only met padding" in report.lines()
        # As in test_finalize.py: float32 rounding.
        assert np.abs(logits(after, batch) - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("target", KINDS)
def test_quantized_kernels_too(target: str) -> None:
    net = DenseNet(growth=4, blocks=(1, 1, 1, 1, 1, 1), features=8)
    before = from_proto(net.proto("dense", num_classes=10, input_size=32, stem="cifar", seed=1))
    after, report = finalize_report(compressed(before, "qat"), KINDS[target])
    assert report.crops == Crops(1, 8 * 16 * 4)
    stored = "" if KINDS[target].weights == "float" else ".quantized"
    weight = after.constants()[f"features.denseblock6.denselayer1.conv2.weight{stored}"]
    assert weight.values.shape == (4, 16, 1, 1)
