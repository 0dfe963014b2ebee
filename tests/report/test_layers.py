from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import graphs, pipeline, recipe
from onnxcomp.model import Model, from_proto
from onnxcomp.report.layers import layers
from tests import run, zoo

# By hand: output pixels times weight elements, in graph order; strides make 8x8 of 16x16.
BY_HAND = {
    "mlp": [768 * 32, 32 * 10],
    "resnet": [256 * n for n in (324, 1296, 1296)] + [64 * n for n in (2592, 288, 5184)] + [240],
    "mobilenet": [256 * n for n in (216, 256, 32 * 9, 256, 256)] + [64 * n for n in (32 * 9, 512)] + [160],
    "densenet": [256 * n for n in (432, 512, 2304, 768, 2304, 512)]
    + [64 * n for n in (512, 2304, 768, 2304)]
    + [320],
}


@pytest.mark.parametrize("batch", ["N", 4])
@pytest.mark.parametrize("name", zoo.ALL)
def test_macs_by_hand(name: str, batch: str | int) -> None:
    found = layers(from_proto(zoo.ALL[name](batch=batch)))
    assert [layer.macs for layer in found] == BY_HAND[name]


def test_one_layer_in_full() -> None:
    layer = layers(from_proto(zoo.mobilenet()))[2]
    assert (layer.name, layer.op) == ("/features/1/conv/1/0/Conv", "Conv")
    assert (layer.weight, layer.output) == ((32, 1, 3, 3), ("N", 32, 16, 16))
    assert (layer.parameters, layer.sparsity, layer.precision) == (288 + 32, 0.0, "fp32")


def single(op: str, weight: tuple[int, ...], shape: list[int | str], *, left: bool = False) -> Model:
    """A network of one operator on an input of ``shape``."""
    x = gs.Variable("input", np.float32, shape)
    w = gs.Constant("w", np.ones(weight, np.float32))
    y = gs.Variable("output", np.float32)
    node = gs.Node(op, "node", {}, [w, x] if left else [x, w], [y])
    return Model(gs.Graph([node], [x], [y], opset=17))


@pytest.mark.parametrize(
    ("model", "macs"),
    [
        # each of 4x4 inputs meets every weight of its channel
        (single("ConvTranspose", (3, 5, 2, 2), ["N", 3, 4, 4]), 16 * 3 * 5 * 4),
        (single("MatMul", (6, 7), ["N", 5, 6]), 5 * 6 * 7),
        (single("MatMul", (2, 6, 7), ["N", 2, 5, 6]), 2 * 5 * 6 * 7),
        (single("MatMul", (7, 5), ["N", 5, 6], left=True), 7 * 5 * 6),
        (single("Conv", (5, 3, 2, 2), ["N", 3, "H", "W"]), None),
    ],
)
def test_macs_of_other_operators(model: Model, macs: int | None) -> None:
    """Shapes are missing at first: they are inferred."""
    assert model.graph.outputs[0].shape is None
    assert [layer.macs for layer in layers(model)] == [macs]


def test_sparsity_is_read_through_the_mask_and_from_zeros() -> None:
    model = from_proto(zoo.mlp())
    weight = model.constants()["w2"]
    weight.values = np.where(np.arange(10) < 4, 0, weight.values).astype(np.float32)
    passes = recipe.parse("prune{keep_first=false keep_last=false}")
    model = pipeline.apply(model, passes)
    mask = graphs.masks(model.graph)["w1"]
    mask.values = (np.arange(768)[:, None] % 4 == 0).astype(np.float32) * np.ones((1, 32), np.float32)
    assert [layer.sparsity for layer in layers(model)] == pytest.approx([75.0, 40.0])


def test_precision() -> None:
    quantised = pipeline.apply(from_proto(zoo.mlp()), recipe.parse("qat"), calibration=run.Observed())
    assert {layer.precision for layer in layers(quantised)} == {"int8 w+a"}
    node = next(weight.node for weight in graphs.weights(quantised.graph) if weight.name == "w2")
    node.inputs[0] = node.inputs[0].inputs[0].inputs[0].inputs[0].inputs[0]  # past the activation's Q/DQ
    assert [layer.precision for layer in layers(quantised)] == ["int8 w+a", "int8 weights"]


def test_the_teacher_is_left_out() -> None:
    plain = from_proto(zoo.densenet())
    whole = pipeline.apply(plain, recipe.parse("prune,qat,distill"), calibration=run.Observed())
    before, after = layers(plain), layers(whole)
    assert [(x.name, x.weight, x.macs) for x in before] == [(x.name, x.weight, x.macs) for x in after]
