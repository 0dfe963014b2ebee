"""VGG's structure, names and pooling."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from onnxcomp import models, pipeline
from onnxcomp.model import from_proto
from onnxcomp.models.vgg import GRID, VGG, adaptive_average
from onnxcomp.models.writer import Writer
from onnxcomp.student import subgraph
from onnxcomp.training import engine
from tests import run


def test_names_follow_the_module_path() -> None:
    """torchvision's numbers: 0, 1, 2 are the first convolution, its BN and Relu, 3 the pooling."""
    graph = models.build("vgg11_bn", num_classes=2, stem="cifar").graph
    convolutions = [node.name for node in graph.nodes if node.op == "Conv"]
    assert convolutions == [f"features.{i}" for i in (0, 4, 8, 11, 15, 18, 22, 25)]
    norms = [node.name for node in graph.nodes if node.op == "BatchNormalization"]
    assert norms == [f"features.{i}" for i in (1, 5, 9, 12, 16, 19, 23, 26)]
    pools = [node.name for node in graph.nodes if node.op == "MaxPool"]
    assert pools == [f"features.{i}" for i in (3, 7, 14, 21, 28)]
    constants = models.build("vgg16_bn", num_classes=2, stem="cifar").constants()
    assert constants["features.40.bias"].shape == (512,)
    assert constants["features.41.running_var"].shape == (512,)


def test_without_batch_normalization() -> None:
    graph = models.build("vgg11", num_classes=2, stem="cifar").graph
    convolutions = [node.name for node in graph.nodes if node.op == "Conv"]
    assert convolutions == [f"features.{i}" for i in (0, 3, 6, 8, 11, 13, 16, 18)]
    assert not any(node.op == "BatchNormalization" for node in graph.nodes)


def test_imagenet_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three Linear layers on 7x7; narrow here, because torchvision's hold half a gigabyte."""
    monkeypatch.setattr("onnxcomp.models.vgg.HIDDEN", 16)
    model = models.build("vgg11", num_classes=5, input_size=32)
    shapes = {name: tuple(c.shape) for name, c in model.constants().items() if name.startswith("classifier")}
    assert shapes == {
        "classifier.0.weight": (16, 512 * 49), "classifier.0.bias": (16,),
        "classifier.3.weight": (16, 16), "classifier.3.bias": (16,),
        "classifier.6.weight": (5, 16), "classifier.6.bias": (5,),
    }  # fmt: skip
    assert run.logits(model, run.images(model, 2)).shape == (2, 5)


def cells(x: np.ndarray) -> np.ndarray:
    """PyTorch's documented cells, written as loops."""
    size = x.shape[-1]
    result = np.empty((*x.shape[:2], GRID, GRID), np.float32)
    for i in range(GRID):
        for j in range(GRID):
            rows = slice(i * size // GRID, int(np.ceil((i + 1) * size / GRID)))
            columns = slice(j * size // GRID, int(np.ceil((j + 1) * size / GRID)))
            result[:, :, i, j] = x[:, :, rows, columns].mean((2, 3))
    return result


def network(size: int) -> onnx.ModelProto:
    net = Writer(0)
    x = net.relu("relu", net.conv("conv", "input", (3, 3, 1)))
    x = net.node("Flatten", "flatten", [adaptive_average(net, x, size)], axis=1)
    net.linear("fc", x, (4, 3 * GRID * GRID), output="logits")
    return net.finish("pool", ["N", 3, size, size], ["N", 4])


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 8, 9, 14, 16])
def test_adaptive_average(size: int) -> None:
    """To 1e-6: sums of at most nine numbers."""
    proto = network(size)
    onnx.checker.check_model(proto, full_check=True)
    model = from_proto(proto)
    found = run.outputs(subgraph(model, ["relu", "flatten"]), run.images(model, 2))
    pooled = found["flatten"].reshape(2, 3, GRID, GRID)
    np.testing.assert_allclose(pooled, cells(found["relu"]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 14])
def test_adaptive_average_can_be_trained(size: int) -> None:
    model = pipeline.with_task_loss(from_proto(network(size)))
    trained = engine.build(model, batch_size=2, threads=1)
    trained.step(run.images(model, 2), np.array([0, 1]))
    assert np.abs(trained.gradients["conv.weight"]).max() > 0


def test_each_pooling_halves_and_rounds_down() -> None:
    assert VGG((1, 1, 1, 1, 1)).smallest_input("imagenet") == 32
    tensors = models.build("vgg11", num_classes=2, input_size=63, stem="cifar").graph.tensors()
    assert tensors["features.20"].shape == ["N", 512, 1, 1]
