"""What a cut saves, against what the cut network counts."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp.macs import total
from onnxcomp.model import from_proto
from onnxcomp.passes.channels import cut, find
from onnxcomp.passes.channels.work import Work
from tests import zoo
from tests.builder import Builder, conv
from tests.passes.channels.small import classifier, half, numbers


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", zoo.ALL | zoo.MORE)
def test_the_work_left_is_that_of_the_cut_network(name: str, seed: int) -> None:
    model = from_proto((zoo.ALL | zoo.MORE)[name]())
    dependencies = find(model.graph)
    work = Work(model.graph, dependencies)
    assert work.left(dependencies.kept([])) == total(model.graph)
    gone = half(model, seed, share=0.4)
    cut(model, dependencies, gone)
    assert work.left(dependencies.kept(gone)) == pytest.approx(total(model.graph), rel=1e-9)


@pytest.mark.parametrize("name", ["densenet", "resnet", "mobilenet", "mlp", "vgg"])
def test_the_work_of_each_is_what_its_removal_alone_saves(name: str) -> None:
    model = from_proto((zoo.ALL | zoo.MORE)[name]())
    dependencies = find(model.graph)
    work = Work(model.graph, dependencies)
    each, whole = work.of_each(), work.left(dependencies.kept([]))
    assert each.shape == (dependencies.size,)
    for group in dependencies.groups:
        for number in group.ids[:2].tolist():
            saved = whole - work.left(dependencies.kept([number]))
            assert each[number] == pytest.approx(saved, rel=1e-9)


def test_grouped_and_depthwise_convolutions_by_hand() -> None:
    def grouped(net: Builder, x: str) -> str:
        x = conv(net, x, "a", 3, 8, kernel=1)
        x = conv(net, x, "d", 8, 8, group=8)
        return conv(net, x, "g", 8, 8, group=2)

    model = classifier(grouped, 8)  # 6 x 6 pixels
    dependencies = find(model.graph)
    work = Work(model.graph, dependencies)
    macs = {"a": 36 * 3 * 8, "d": 36 * 8 * 9, "g": 36 * 8 * 4 * 9, "fc": 8 * 5}
    assert work.left(dependencies.kept([])) == sum(macs.values())
    gone = [numbers(dependencies, "a.weight", 0)[1], numbers(dependencies, "g.weight", 0)[0]]
    # One channel of each half: 6 of 8 channels are left where they are made and read.
    expected = 36 * 3 * 6 + 36 * 6 * 9 + 36 * 6 * 3 * 9 + 6 * 5
    assert work.left(dependencies.kept(gone)) == pytest.approx(expected)


def test_an_unknown_size_is_refused() -> None:
    model = classifier(lambda net, x: conv(net, x, "a", 3, 4), 4)
    dependencies = find(model.graph)
    for tensor in model.graph.tensors().values():
        if tensor.name != model.image.name and "Conv" in tensor.name:
            tensor.shape = [tensor.shape[0], 4, "h", "w"]
    model.image.shape = ["N", 3, "h", "w"]
    with pytest.raises(ValueError, match=r"the output of /a/Conv has no known size"):
        Work(model.graph, dependencies)


def test_nothing_is_left_negative() -> None:
    dependencies = find(from_proto(zoo.resnet()).graph)
    work = Work(from_proto(zoo.resnet()).graph, dependencies)
    every = np.concatenate([group.ids for group in dependencies.groups])
    assert 0 <= work.left(dependencies.kept(every.tolist())) < work.left(dependencies.kept([]))
