"""Gram matrices against float64 products written from the operators' definitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest

from onnxcomp import grams, graphs
from onnxcomp.errors import ModelError
from onnxcomp.grams import ImageGrams
from onnxcomp.model import Model, from_proto
from tests import run, zoo
from tests.float64_operators import OPERATORS
from tests.pictures import NORMAL, network, pictures

# Sums of a few hundred products of float32 values near 1, against float64.
RTOL, ATOL = 1e-5, 1e-4
CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "1x1": ((2, 6, 4, 4), (5, 6, 1, 1), {}),
    "3x3 padded": ((2, 3, 5, 5), (4, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
    "more padding behind": ((2, 3, 5, 6), (4, 3, 2, 3), {"pads": [0, 1, 2, 3]}),
    "strided": ((3, 3, 8, 7), (4, 3, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 3]}),
    "1x1 strided": ((2, 3, 5, 5), (4, 3, 1, 1), {"strides": [2, 2]}),
    "dilated": ((2, 3, 9, 9), (4, 3, 3, 2), {"pads": [2, 0, 2, 0], "dilations": [2, 3]}),
    "grouped": ((2, 6, 5, 5), (4, 3, 3, 3), {"pads": [1, 1, 1, 1], "group": 2}),
    "depthwise": ((2, 4, 6, 6), (4, 1, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2], "group": 4}),
    "same upper": ((2, 3, 6, 5), (4, 3, 4, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "same lower": ((2, 3, 6, 5), (4, 3, 4, 3), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    "valid": ((2, 3, 6, 5), (4, 3, 4, 3), {"auto_pad": "VALID"}),
    "wider than the image": ((3, 2, 1, 1), (4, 2, 3, 3), {"pads": [1, 1, 1, 1]}),
    "one axis": ((2, 3, 9), (4, 3, 3), {"pads": [1, 1], "strides": [2]}),
}


def layer(op: str, shape: tuple[int, ...], index: int = 1, **attributes: Any) -> graphs.Weight:
    tensor = gs.Constant("w", np.zeros(shape, np.float32))
    inputs = [gs.Variable("x"), tensor] if index else [tensor, gs.Variable("x")]
    return graphs.Weight(gs.Node(op, "node", attributes, inputs), index, tensor, 0)


def reference(weight: np.ndarray, x: np.ndarray, attributes: dict[str, Any]) -> np.ndarray:
    """Float64 (groups, K, K): what each element of the weight contributes alone, multiplied in pairs."""
    groups = attributes.get("group", 1)
    size = int(np.prod(weight.shape[1:]))
    # One output channel a group and element: its only weight that is not 0 is that element.
    each = np.tile(np.eye(size), (groups, 1)).reshape(groups * size, *weight.shape[1:])
    y = OPERATORS["Conv"](attributes, x.astype(np.float64), each)
    columns = np.moveaxis(y, 1, 0).reshape(groups, size, -1)
    return columns @ columns.transpose(0, 2, 1)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions(name: str) -> None:
    size, shape, attributes = CONVOLUTIONS[name]
    x = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    found = grams.gram_of(layer("Conv", shape, **attributes), x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference(np.zeros(shape), x, attributes), rtol=RTOL, atol=ATOL)


def test_a_batch_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).standard_normal((5, 3, 6, 6)).astype(np.float32)
    conv = layer("Conv", (4, 3, 3, 3), pads=[1] * 4)
    whole = grams.gram_of(conv, x)
    monkeypatch.setattr(grams, "CHUNK", 2 * 3 * 9 * 36)
    assert [part.shape[2] for part in grams.unfold(conv, x)] == [72, 72, 36]
    np.testing.assert_allclose(grams.gram_of(conv, x), whole, rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize(
    ("op", "index", "attributes", "product"),
    [
        ("Gemm", 1, {"transB": 1}, "nk,nj->kj"),
        ("Gemm", 1, {"transB": 0}, "nk,nj->kj"),
        ("Gemm", 1, {"transA": 1}, "kn,jn->kj"),
        ("MatMul", 1, {}, "nk,nj->kj"),
        ("MatMul", 1, {}, "abk,abj->kj"),
        ("MatMul", 0, {}, "akn,ajn->kj"),
    ],
)
def test_linear_layers(op: str, index: int, attributes: dict[str, int], product: str) -> None:
    shape = tuple({"k": 7}.get(letter, 4) for letter in product.split(",")[0])
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    weight = (4, 7) if attributes.get("transB") or index == 0 else (7, 4)
    found = grams.gram_of(layer(op, weight, index, **attributes), x)
    expected = np.einsum(product, x.astype(np.float64), x.astype(np.float64))
    np.testing.assert_allclose(found, expected[None], rtol=RTOL, atol=ATOL)


@pytest.mark.parametrize("op", ["ConvTranspose", "MatMul"])
def test_other_products_are_refused(op: str) -> None:
    with pytest.raises(ModelError, match=rf"node node: {op} w of shape \(2, 3, 4\) has no Gram matrix"):
        grams.gram_of(layer(op, (2, 3, 4)), np.zeros((1, 2, 3), np.float32))


@pytest.mark.parametrize("name", [*zoo.ALL, "vit", "mobilenet_v3"])
def test_outputs_of_every_layer_have_the_energy_that_the_matrices_say(name: str) -> None:
    """``tr(W G W^T)`` is the sum of the squared outputs, as ONNX Runtime computes them; 1e-3 of each."""
    model = from_proto((zoo.ALL | zoo.MORE)[name]())
    layers = list(graphs.weights(model.graph))
    images = run.images(model, 6)
    found = ImageGrams(lambda: [images[:4], images[4:]], threads=1).grams(model, layers)
    assert found.keys() == {layer.name for layer in layers}
    energies = energy(model, layers, images)
    for layer in layers:
        gram = found[layer.name]
        rows = (
            layer.tensor.values
            if layer.node.op == "Conv"
            else np.moveaxis(layer.tensor.values, layer.axis, 0)
        )
        rows = rows.reshape(len(gram), -1, gram.shape[1])
        assert np.einsum("gik,gkl,gil->", rows, gram, rows) == pytest.approx(energies[layer.name], rel=1e-3)


@pytest.mark.parametrize(("room", "runs"), [(2, [2, 2, 1]), (0.5, [1] * 5), (100, [5])])
def test_a_batch_is_run_in_parts_that_memory_holds(
    monkeypatch: pytest.MonkeyPatch, room: float, runs: list[int]
) -> None:
    model = from_proto(zoo.resnet())
    layers = list(graphs.weights(model.graph))
    images = run.images(model, 5)
    expected = ImageGrams(lambda: [images], 1).grams(model, layers)
    names = {layer.node.inputs[1 - layer.index].name for layer in layers} - {model.image.name}
    full = model.copy()
    full.graph.outputs = [full.graph.tensors()[name] for name in sorted(names)]
    values = sum(array.size for array in run.outputs(full, images[:1]).values())
    monkeypatch.setattr(grams, "ACTIVATIONS", int(room * values))
    seen: list[int] = []
    unfold = grams.unfold

    def watched(layer: graphs.Weight, inputs: np.ndarray) -> Iterator[np.ndarray]:
        if layer.name == layers[0].name:
            seen.append(len(inputs))
        return unfold(layer, inputs)

    monkeypatch.setattr(grams, "unfold", watched)
    found = ImageGrams(lambda: [images], 1).grams(model, layers)
    assert seen == runs
    for name, gram in expected.items():
        np.testing.assert_allclose(found[name], gram, rtol=RTOL, atol=RTOL * np.abs(gram).max())


def energy(model: Model, layers: list[graphs.Weight], images: np.ndarray) -> dict[str, float]:
    """Sum of the squared outputs of each layer, its bias left out."""
    full = model.copy()
    full.graph.outputs = [full.graph.tensors()[layer.node.outputs[0].name] for layer in layers]
    values = run.outputs(full, images)
    found: dict[str, float] = {}
    for layer in layers:
        y = values[layer.node.outputs[0].name].astype(np.float64)
        if len(layer.node.inputs) > 2:
            bias = layer.node.inputs[2].values
            y = y - (bias.reshape(-1, 1, 1) if y.ndim == 4 else bias)
        found[layer.name] = found.get(layer.name, 0) + float((y**2).sum())
    return found


def test_images_are_those_of_calibration() -> None:
    model = network("mlp")
    data = pictures(20)
    from onnxcomp.calibration import chosen_images
    from onnxcomp.data import DataSet

    made = grams.from_data(model, DataSet("pictures", data, data), images=5, threads=1)
    (batch,) = made.batches()
    chosen = chosen_images(data, 5, 1)
    assert sorted(chosen) == np.linspace(0, 19, 5).astype(int).tolist()
    expected = (data.load(chosen, (16, 16)) - np.array(NORMAL.mean)) / np.array(NORMAL.std)
    np.testing.assert_allclose(batch, expected.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-6)


def test_inputs_that_are_not_finite_are_refused() -> None:
    model = from_proto(zoo.mlp())
    images = np.full((2, *model.image_shape), np.inf, np.float32)
    with pytest.raises(ModelError, match="Gram: the inputs of w1 are not finite"):
        ImageGrams(lambda: [images], 1).grams(model, list(graphs.weights(model.graph))[:1])
