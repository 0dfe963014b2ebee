"""Grids, and what is known of constants."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import graphs, pipeline
from onnxcomp import recipe as recipes
from onnxcomp.model import Model
from onnxcomp.passes.channels.analysis import Analysis, shrunk, varying
from onnxcomp.passes.channels.ids import FIXED
from tests import run
from tests.builder import Builder, conv
from tests.passes.channels.small import classifier, integers, node


def two(net: Builder, x: str) -> str:
    return conv(net, conv(net, x, "a", 3, 4), "b", 4, 6)


def opened(model: Model) -> tuple[Analysis, gs.Node, gs.Node]:
    """The analysis before any rule, and both convolutions."""
    first, second = (n for n in model.graph.nodes if n.op == "Conv")
    return Analysis(model.graph), first, second


def test_axes_along_which_nothing_changes_have_size_1() -> None:
    grid = np.broadcast_to(np.arange(4).reshape(1, 4, 1), (2, 4, 3))
    assert shrunk(grid).shape == (1, 4, 1)
    assert varying(shrunk(grid)) == [1]
    table = np.arange(6).reshape(2, 3)
    assert shrunk(table) is table
    assert varying(table) == [0, 1]
    assert varying(shrunk(np.full((2, 3), 7))) == []


def test_a_tensor_without_channels_is_fixed() -> None:
    model = classifier(two, 6)
    analysis, first, _ = opened(model)
    assert analysis.grid(model.image).tolist() == [[[[FIXED]]]]
    assert analysis.dims(model.image) == (1, 3, 6, 6)
    analysis.write(first.outputs[0], np.full((1, 4, 1, 1), FIXED))
    assert not analysis.grids


def test_a_grid_of_another_rank_is_a_fault() -> None:
    analysis, first, _ = opened(classifier(two, 6))
    with pytest.raises(AssertionError, match="has 4 axes, its grid 2"):
        analysis.write(first.outputs[0], np.arange(4).reshape(1, 4))


def test_channels_along_an_axis() -> None:
    analysis, first, second = opened(classifier(two, 6))
    ids = analysis.ids.fresh(4)
    analysis.write(first.outputs[0], ids.reshape(1, 4, 1, 1))
    for axis in (1, -3):
        assert analysis.channels(first.outputs[0], axis, second).tolist() == [0, 1, 2, 3]
    assert analysis.ids.reason(0) == ""
    assert analysis.channels(first.outputs[0], 2, second).tolist() == [FIXED] * 6
    assert [analysis.ids.reason(number) for number in range(4)] == [
        "Conv /b/Conv reads them along another axis"
    ] * 4


def test_a_source_read_again_makes_the_same_channels() -> None:
    analysis, first, _ = opened(classifier(two, 6))
    weight = first.inputs[1]
    ids = analysis.source(weight, 0, 4, first)
    analysis.bind(weight, 0, ids, first)
    assert analysis.source(weight, 0, 4, first).tolist() == ids.tolist()
    assert len(analysis.sources) == 1
    assert analysis.sources[0].name == "a.weight"


def test_bound_twice_an_axis_joins_its_channels() -> None:
    analysis, first, second = opened(classifier(two, 6))
    weight, left, right = first.inputs[1], analysis.ids.fresh(4), analysis.ids.fresh(4)
    analysis.bind(weight, 0, left, first)
    analysis.bind(weight, 0, right, second)
    assert analysis.ids.roots(left).tolist() == analysis.ids.roots(right).tolist()
    analysis.bind(weight, 0, np.array([FIXED, 1, 2, 3]), second)
    assert analysis.ids.reason(0) == "Conv /b/Conv shares a.weight"
    assert analysis.ids.reason(1) == ""


def test_masks_scales_and_zero_points_are_bound_with_their_weight() -> None:
    recipe = recipes.parse("prune{keep_first=false},qat")
    model = pipeline.apply(classifier(two, 6), recipe, calibration=run.Observed())
    analysis = Analysis(model.graph)
    second = [n for n in model.graph.nodes if n.op == "Conv" and graphs.is_student(n)][1]
    made, read = analysis.ids.fresh(6), analysis.ids.fresh(4)
    analysis.bind(second.inputs[1], 0, made, second)
    analysis.bind(second.inputs[1], 1, read, second)
    pair = next(p for p in graphs.quantizers(model.graph) if p.weight and p.weight.name == "b.weight")
    vectors = {pair.scale.name, pair.quantize.inputs[2].name, pair.dequantize.inputs[2].name}
    assert set(analysis.constants) == {"b.weight", "b.weight.mask", *vectors}
    for name in ("b.weight", "b.weight.mask"):
        assert analysis.constants[name][0].tolist() == made.tolist()
        assert analysis.constants[name][1].tolist() == read.tolist()
    for name in vectors:
        assert list(analysis.constants[name]) == [0], "one scale for each output"
        assert analysis.constants[name][0].tolist() == made.tolist()
    constants = model.constants()
    assert not any(analysis.foreign_readers(constants[name]) for name in analysis.constants)


def test_who_else_reads_a_constant() -> None:
    def shared(net: Builder, x: str) -> str:
        x = two(net, x)
        weight = net.node("Reshape", ["b.weight", integers(net, "flat", -1)], "as_vector", "other")
        return net.node("Mul", [x, net.node("ReduceMean", [weight], "mean", keepdims=0)], "scaled")

    model = classifier(shared, 6)
    analysis, _, second = opened(model)
    analysis.bind(second.inputs[1], 0, analysis.ids.fresh(6), second)
    (reader,) = analysis.foreign_readers(model.constants()["b.weight"])
    assert reader is node(model, "Reshape")
