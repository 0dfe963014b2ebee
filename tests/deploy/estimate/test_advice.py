from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from onnxcomp.deploy.estimate.advice import _aligned, _halved, changes
from onnxcomp.deploy.estimate.estimate import estimate
from onnxcomp.deploy.estimate.roofline import Roof
from onnxcomp.deploy.estimate.work import Stored, Work
from onnxcomp.deploy.targets import get_target
from tests.deploy.estimate.tensors import stored
from tests.deploy.lint.networks import Net


def work(**changes_: object) -> Work:
    facts = {"macs": 10**10, "inputs": 256, "outputs": 256, "tensors": stored(10**6), "weights": 10**6}
    return Work("c", "c", "convolution", **{"precision": "INT8", **facts, **changes_})  # type: ignore[arg-type]


def texts(target: str, *works: Work) -> list[str]:
    return [text for text, _ in changes(Roof.of(get_target(target)), works, [], sparse=True)]


def test_advice_names_what_helps() -> None:
    assert any("INT8 for the 1 " in text for text in texts("xavier", work(precision="FP16")))
    assert any("cut to multiples of 32" in text for text in texts("xavier", work(outputs=257)))
    assert any(text.startswith("2:4 zeros in the 1 layers") for text in texts("orin", work()))
    assert not any("2:4" in text for text in texts("xavier", work()))
    assert not any("2:4" in text for text in texts("orin", work(two_four=True)))
    assert not any("2:4" in text for text in texts("orin", work(inputs=64)))
    assert texts("xavier", work())[0] == "half the channels everywhere"


def test_half_the_channels_is_a_quarter_of_the_arithmetic() -> None:
    roof, large = Roof.of(get_target("xavier")), work(macs=10**12)
    ((_, left),) = [each for each in changes(roof, [large], [], sparse=True) if "half" in each[0]]
    assert left == pytest.approx(roof.microseconds(large) / 4, rel=1e-3)


def test_the_largest_gain_comes_first_and_small_ones_not_at_all() -> None:
    roof = Roof.of(get_target("orin"))
    works = [
        work(precision="FP16", outputs=257),
        *(Work("r", "", "pointwise", "FP16", tensors=stored(1)) for _ in range(2000)),
    ]
    found = changes(roof, works, [], sparse=True)
    now = sum(map(roof.microseconds, works))
    assert all(us < 0.99 * now for _, us in found)
    assert [us for _, us in found] == sorted(us for _, us in found)


def test_more_images_at_once_share_the_launches() -> None:
    roof = Roof.of(get_target("xavier"))
    small = [Work("r", "", "pointwise", "FP16", tensors=stored(100))]
    ((text, left),) = changes(roof, small, [dataclasses.replace(small[0], tensors=stored(1600))], sparse=True)
    assert text.startswith("sixteen times the batch")
    assert left == pytest.approx(roof.microseconds(small[0]) / 16)


@pytest.mark.parametrize(("groups", "inputs", "left"), [(1, 256, 4), (256, 1, 2), (4, 64, 2)])
def test_half_the_channels_of_a_grouped_layer_is_half_of_its_weights(
    groups: int, inputs: int, left: int
) -> None:
    halved = _halved(work(groups=groups, inputs=inputs, outputs=inputs, weights=1024, macs=4096))
    assert (halved.macs, halved.weights) == (4096 // left, 1024 // left)


def test_half_the_channels_leaves_images_and_short_batches() -> None:
    tensors = (Stored((1, 3, 8, 8), "INT8"), Stored((8, 64, 8, 8), "INT8"))
    halved = _halved(work(tensors=tensors))
    assert [tensor.shape for tensor in halved.tensors] == [(1, 3, 8, 8), (8, 32, 8, 8)]


@pytest.mark.parametrize(("kind", "axis"), [("convolution", 1), ("product", 2)])
def test_channels_are_where_the_kind_of_layer_has_them(kind: str, axis: int) -> None:
    layer = dataclasses.replace(work(tensors=(Stored((2, 66, 66), "INT8"),)), kind=kind)
    expected = [2, 66, 66]
    expected[axis] = 64
    assert _aligned(layer, 32).tensors == (Stored(tuple(expected), "INT8"),)


def test_cut_channels_move_fewer_bytes(tmp_path: Path) -> None:
    """Tensors of 33 channels take the room of 64: the estimate after the cut is that of the cut network."""
    times = {}
    for channels in (32, 33):
        net = Net()
        net.inputs = [("x", ("N", channels, 224, 224))]
        read = net.pair("x")
        for index in range(4):
            weight = net.constant(f"w{index}", np.ones((channels, channels, 1, 1)))
            weight = net.pair(weight, np.ones(channels), axis=0)
            read = net.pair(net.node("Conv", f"c{index}", [read, weight]))
        net.output = read
        (tmp_path / str(channels)).mkdir()
        times[channels] = estimate(net.save(tmp_path / str(channels)), get_target("xavier"))
    (left,) = [us for text, us in times[33].changes if "multiples of 32" in text]
    assert left == pytest.approx(times[32].us, rel=0.01)
    assert times[33].us > 1.2 * left
