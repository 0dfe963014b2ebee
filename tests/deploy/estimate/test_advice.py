from __future__ import annotations

import dataclasses

import pytest

from onnxcomp.deploy.estimate.advice import changes
from onnxcomp.deploy.estimate.roofline import Roof
from onnxcomp.deploy.estimate.work import Work
from onnxcomp.deploy.targets import get_target


def work(**changes_: object) -> Work:
    facts = {"macs": 10**10, "inputs": 256, "outputs": 256, "moved": 10**6, "weights": 10**6, **changes_}
    return Work("c", "c", "convolution", **{"precision": "INT8", **facts})  # type: ignore[arg-type]


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
        *(Work("r", "", "pointwise", "FP16", moved=1) for _ in range(2000)),
    ]
    found = changes(roof, works, [], sparse=True)
    now = sum(map(roof.microseconds, works))
    assert all(us < 0.99 * now for _, us in found)
    assert [us for _, us in found] == sorted(us for _, us in found)


def test_more_images_at_once_share_the_launches() -> None:
    roof = Roof.of(get_target("xavier"))
    small = [Work("r", "", "pointwise", "FP16", moved=100)]
    ((text, left),) = changes(roof, small, [dataclasses.replace(small[0], moved=1600)], sparse=True)
    assert text.startswith("sixteen times the batch")
    assert left == pytest.approx(roof.microseconds(small[0]) / 16)
