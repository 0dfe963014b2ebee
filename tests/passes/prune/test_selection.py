"""Which weights a pattern fits, and names that are near."""

from __future__ import annotations

import pytest

from onnxcomp import graphs
from onnxcomp import model as models
from onnxcomp.passes.prune import selection
from onnxcomp.passes.prune.patterns import NM, Blocks, Pattern, Unstructured
from tests import zoo
from tests.passes.prune.test_plan import only


@pytest.mark.parametrize(
    ("weight", "channels"),
    [
        (only("Conv", (8, 4, 3, 3)), (8, 4)),
        (only("Conv", (8, 4, 3, 3), group=2), (4, 4)),
        (only("Conv", (8, 1, 3, 3), group=8), (1, 1)),
        (only("ConvTranspose", (8, 6, 3, 3), group=2), (6, 4)),
        (only("Gemm", (8, 4)), (4, 8)),
        (only("Gemm", (8, 4), transB=1), (8, 4)),
        (only("MatMul", (3, 8, 4)), (4, 8)),
    ],
    ids=str,
)
def test_channels_are_those_of_one_group(weight: graphs.Weight, channels: tuple[int, int]) -> None:
    assert selection.channels(weight) == channels


@pytest.mark.parametrize("pattern", [Unstructured(), NM(2, 4), Blocks(4, 1)], ids=str)
def test_every_weight_is_chosen_or_left_for_a_reason(pattern: Pattern) -> None:
    graph = models.from_proto(zoo.mobilenet()).graph
    found = selection.select(graph, pattern, kept=[0, -1], exclude=["*.2.weight"], layers={"*.1.0.*": 0.5})
    every = [weight.name for weight in graphs.weights(graph)]
    assert sorted([*found.chosen, *found.left]) == sorted(every)
    dense = {name for name, reason in found.left.items() if not reason}
    assert dense == {every[0], every[-1], *(name for name in every if name.endswith(".2.weight"))}
    depthwise = {name for name in every if ".1.0." in name}
    assert set(found.shares) == (depthwise if pattern.size == 1 else set())
    reasons = {reason for reason in found.left.values() if reason}
    count = "1 input" if isinstance(pattern, NM) else "1 output"
    assert reasons == (set() if pattern.size == 1 else {f"{count} is not divisible by 4"})


def test_nearest() -> None:
    graph = models.from_proto(zoo.densenet()).graph
    assert selection.nearest(graph, "clasifier.weight") == "did you mean classifier.weight?"
    assert selection.nearest(graph, "zzz") == "see onnxcomp inspect"


def test_shadowed() -> None:
    graph = models.from_proto(zoo.densenet()).graph
    assert selection.shadowed(graph, ["*conv1*", "*"]) == ""
    assert selection.shadowed(graph, ["*", "*conv1*"]) == "*conv1*"
    assert selection.shadowed(graph, ["*denselayer1*", "*denselayer2*", "*conv2*"]) == "*conv2*"


def test_lines() -> None:
    left = {"b": "", "a": "too small", "c": "", "d": "no"}
    assert list(selection.lines(left)) == ["left dense: b, c", "left alone: a (too small), d (no)"]
    assert list(selection.lines({})) == []
