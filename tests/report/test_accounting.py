from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import graphs, models, pipeline, recipe
from onnxcomp.deploy.targets import get_target
from onnxcomp.model import Model, from_proto
from onnxcomp.report.accounting import Accounting, Cut, Savings, account, is_wide
from onnxcomp.report.layers import Layer, layers
from tests import zoo
from tests.deploy.kinds import KINDS
from tests.report.test_layers import BY_HAND


def accounting(model: Model) -> Accounting:
    return account(layers(model), model.given, KINDS.values())


def two_of_four(model: Model, name: str) -> None:
    """Keep two of each four rows of a matrix, others in every second column."""
    constant = model.constants()[name]
    rows, columns = np.indices(constant.shape)
    constant.values = constant.values * ((rows + 2 * columns) % 4 > 1).astype(np.float32)


def test_a_dense_network_saves_nothing() -> None:
    found = accounting(from_proto(zoo.resnet()))
    weights = 12 * 27 + 2 * 12 * 108 + 24 * 108 + 24 * 216 + 24 * 12 + 240
    patterns = {"dense": 7, "dead channels": 0, "2:4": 0, "unstructured": 0}
    assert replace(found, targets={}) == Accounting(weights, 0, patterns, 0, 0, 0, 0, None, {})
    assert {(x.macs_saved, x.macs_saved_at_most) for x in found.targets.values()} == {(0, 0)}
    assert list(found.targets) == list(KINDS)


def test_unstructured_zeros_save_nothing_anywhere() -> None:
    model = from_proto(zoo.mlp(hidden=256))
    weight = model.constants()["w1"]
    rows, columns = np.indices(weight.shape)
    weight.values = weight.values * ((rows // 4 + columns) % 2).astype(np.float32)  # four or none of four
    found = accounting(model)
    assert (found.weights, found.zeros) == (768 * 256 + 2560, 384 * 256)
    assert (found.patterns["unstructured"], found.patterns["dense"], found.two_four) == (1, 1, 0)
    assert found.macs_of_zeros == 384 * 256
    assert {(x.macs_saved, x.macs_saved_at_most) for x in found.targets.values()} == {(0, 0)}


def test_2_4_may_halve_a_wide_layer_on_orin_and_nothing_elsewhere() -> None:
    model = from_proto(zoo.mlp(hidden=256))  # 768 -> 256 -> 10
    for name in ("w1", "w2"):
        two_of_four(model, name)
    found = accounting(model)
    assert (found.patterns["2:4"], found.two_four, found.zeros) == (2, 2, (768 * 256 + 2560) // 2)
    first, second = (layer.name for layer in layers(model))
    sparse = {
        name: Savings(name, 0, 768 * 256 // 2, 32, (second,), (first,), (first,))
        for name in ("orin", "orin-dla", "tensorrt-11")
    }
    assert found.targets == {
        "xavier": Savings("xavier", 0, 0, 32, (second,), (), ()),
        "xavier-dla": Savings("xavier-dla", 0, 0, 32, (second,), (), ()),
        "ort-cpu": Savings("ort-cpu", 0, 0, 16, (second,), (), ()),
        **sparse,
    }


@pytest.mark.parametrize(
    ("inputs", "outputs", "groups", "wide"),
    [
        *((256, 256, 1, True), (255, 256, 1, False), (256, 255, 1, False)),
        *((258, 256, 1, False), (1024, 300, 1, True), (256, 256, 2, False)),
    ],
)
def test_what_is_considered_by_rule(inputs: int, outputs: int, groups: int, wide: bool) -> None:
    layer = replace(layers(from_proto(zoo.mlp()))[0], inputs=inputs, outputs=outputs, groups=groups)
    assert is_wide(layer, get_target("orin")) is wide
    assert not is_wide(layer, get_target("xavier"))
    assert not is_wide(layer, get_target("ort-cpu"))


def transitions(found: list[Layer], target: str) -> list[tuple[int, int]]:
    """Channels of the convolutions that the target would consider."""
    wide = (layer for layer in found if layer.op == "Conv" and is_wide(layer, get_target(target)))
    return [(layer.inputs, layer.outputs) for layer in wide]


def test_two_of_200_convolutions_of_densenet201() -> None:
    found = layers(models.build("densenet201", num_classes=10, input_size=32))
    assert sum(layer.op == "Conv" for layer in found) == 200
    assert transitions(found, "orin") == [(512, 256), (1792, 896)]
    assert transitions(found, "xavier") == []
    unaligned = [(layer.inputs, layer.outputs) for layer in found if not layer.is_aligned(32)]
    assert unaligned == [(3, 64), (1920, 10)]


def test_dead_channels_are_counted_and_not_taken_for_saved() -> None:
    model = from_proto(zoo.mobilenet())
    depthwise, projection = (f"features.1.conv.{index}.weight" for index in ("1.0", "2"))
    values = model.constants()[depthwise].values.copy()
    values[3:5] = 0
    model.constants()[depthwise].values = values
    values = model.constants()[projection].values.copy()
    values[:, 3:5] = 0
    model.constants()[projection].values = values
    found = accounting(model)
    assert (found.dead_outputs, found.dead_inputs) == (2, 4)  # a depthwise channel is both
    assert (found.zeros, found.patterns["dead channels"]) == (2 * 9 + 2 * 8, 2)
    assert found.macs_of_zeros == 256 * found.zeros
    assert found.targets["xavier"].macs_saved == 0


def test_zeros_are_read_through_the_mask() -> None:
    passes = recipe.parse("prune{keep_first=false keep_last=false}")
    model = pipeline.apply(from_proto(zoo.mlp()), passes)
    mask = graphs.masks(model.graph)["w1"]
    mask.values = np.repeat((np.arange(768) % 4 < 2)[:, None], 32, 1).astype(np.float32)
    found = accounting(model)
    assert (found.zeros, found.two_four, found.macs_of_zeros) == (384 * 32, 1, 384 * 32)


def test_a_shared_weight_is_stored_once_and_computed_twice() -> None:
    x, y, z = (gs.Variable(name, np.float32, ["N", 4]) for name in ("input", "y", "output"))
    shared = gs.Constant("w", np.diag([1, 0, 3, 4]).astype(np.float32))
    nodes = [gs.Node("MatMul", "a", {}, [x, shared], [y]), gs.Node("MatMul", "b", {}, [y, shared], [z])]
    found = accounting(Model(gs.Graph(nodes, [x], [z], opset=17)))
    assert (found.weights, found.zeros, found.macs_of_zeros) == (16, 13, 26)
    assert sum(found.patterns.values()) == 2


def test_an_unknown_shape_makes_macs_unknown() -> None:
    x = gs.Variable("input", np.float32, ["N", 3, "H", "W"])
    y = gs.Variable("output", np.float32)
    weight = gs.Constant("w", np.zeros((4, 3, 1, 1), np.float32))
    model = Model(gs.Graph([gs.Node("Conv", "conv", {}, [x, weight], [y])], [x], [y], opset=17))
    assert accounting(model).macs_of_zeros is None
    model.given = {"macs": 1e6, "parameters": 20.0}
    found = accounting(model)
    assert found.cut == Cut(None, 8, 1_000_000, 20)
    assert (found.targets["orin"].macs_saved, found.targets["orin"].macs_saved_at_most) == (None, None)


def test_channels_that_were_cut_are_saved_everywhere() -> None:
    model = from_proto(zoo.resnet(widths=(32, 64)))
    before = accounting(model)
    macs = sum(layer.macs or 0 for layer in layers(model))
    cut = pipeline.apply(model, recipe.parse("channels{sparsity=0.5 align=8}"))
    found, rows = accounting(cut), layers(cut)
    left = sum(layer.macs or 0 for layer in rows)
    assert 0 < left < macs
    assert found.cut == Cut(macs - left, before.weights - found.weights, macs, before.weights)
    assert found.weights == sum(layer.size for layer in rows) < before.weights
    assert {x.macs_saved for x in found.targets.values()} == {macs - left}
    assert {x.macs_saved_at_most for x in found.targets.values()} == {macs - left}


def test_by_hand_and_by_layer_agree() -> None:
    """Every element of a weight is used as often as every other: no remainder is lost."""
    for name, counts in BY_HAND.items():
        for layer, count in zip(layers(from_proto(zoo.ALL[name]())), counts, strict=True):
            assert layer.macs == count
            assert count % layer.size == 0
