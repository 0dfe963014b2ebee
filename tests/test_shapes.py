"""Shapes of all tensors, also behind shapes that a network computes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxcomp import shapes as module
from onnxcomp.model import Model, from_proto
from onnxcomp.shapes import shapes
from tests import run, zoo
from tests.builder import Builder, conv
from tests.passes.channels.small import classifier, integers

NETWORKS: dict[str, Callable[..., object]] = {**zoo.ALL, **zoo.MORE}


def measured(model: Model, count: int) -> dict[str, tuple[int, ...]]:
    """Shapes as ONNX Runtime computes them, by tensor name."""
    full = model.copy()
    inner = [tensor for node in full.graph.nodes for tensor in node.outputs]
    full.graph.outputs = [*full.graph.outputs, *(t for t in inner if t is not full.logits)]
    for tensor in full.graph.outputs:
        tensor.dtype = tensor.dtype or np.float32
    return {name: value.shape for name, value in run.outputs(full, run.images(model, count)).items()}


@pytest.mark.parametrize("batch", ["N", 3])
@pytest.mark.parametrize("name", NETWORKS)
def test_every_tensor_has_the_shape_that_it_is_computed_with(name: str, batch: str | int) -> None:
    """For one image, or the fixed batch; what follows a free batch is None in ``fixed``."""
    model = from_proto((zoo.ALL | zoo.MORE)[name](17, batch))
    found = shapes(model.graph)
    one, two = measured(model, 1), measured(model, 2)
    for tensor, shape in one.items():
        known = found.sizes[tensor]
        assert len(known) == len(shape)
        assert all(said in (real, None) for said, real in zip(known, shape, strict=True)), tensor
        for said, first, second in zip(found.fixed[tensor], shape, two[tensor], strict=True):
            if first != second:
                assert said is None, tensor
            elif said is not None:
                assert said == first, tensor
        assert known == shape
    assert found.sizes[model.image.name] == (3 if batch == 3 else 1, *model.image_shape)


def reshaped(net: Builder, x: str) -> str:
    """To a shape that begins with the batch's size, found in the graph."""
    x = conv(net, x, "a", 3, 4)
    shape = net.node("Shape", [x], "shape")
    first = net.node("Gather", [shape, integers(net, "zero", 0)], "first", axis=0)
    target = net.node("Concat", [first, integers(net, "rest", 2, 2, 36)], "target", axis=0)
    x = net.node("Reshape", [x, target], "parts")
    return net.node("Reshape", [x, integers(net, "image", 0, 4, 6, 6)], "image.out")


def test_a_computed_shape_is_found_by_inference() -> None:
    model = classifier(reshaped, 4)
    found = shapes(model.graph)
    assert found.sizes["parts"] == (1, 2, 2, 36)
    assert found.fixed["parts"] == (None, 2, 2, 36)
    assert found.sizes["a.weight"] == found.fixed["a.weight"] == (4, 3, 3, 3)
    fixed = shapes(classifier(reshaped, 4, batch=5).graph)
    assert fixed.sizes["parts"] == fixed.fixed["parts"] == (5, 2, 2, 36)


def test_what_the_file_says_is_taken_without_inference(monkeypatch: pytest.MonkeyPatch) -> None:
    """It costs as much as writing the file."""
    model = from_proto(zoo.resnet())

    def inferred(graph: object, batch: int) -> None:
        raise AssertionError("inferred")

    monkeypatch.setattr(module, "_inferred", inferred)
    found = shapes(model.graph)
    assert found.sizes[model.logits.name] == (1, 10)
    assert found.fixed[model.logits.name] == (None, 10)


def test_the_graph_stays_as_it_is() -> None:
    model = from_proto(zoo.MORE["vit"]())
    before = {name: tensor.shape and list(tensor.shape) for name, tensor in model.graph.tensors().items()}
    shapes(model.graph)
    after = {name: tensor.shape and list(tensor.shape) for name, tensor in model.graph.tensors().items()}
    assert before == after
