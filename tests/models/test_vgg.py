"""VGG's structure, names and classifiers."""

from __future__ import annotations

from onnxcomp import models
from onnxcomp.model import from_proto
from onnxcomp.models.vgg import VGG
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


def test_imagenet_classifier() -> None:
    """Three Linear layers on 7x7; narrow here, because torchvision's hold half a gigabyte."""
    net = VGG((1, 1, 2, 2, 2), batch_norm=False, hidden=16)
    model = from_proto(net.proto("vgg11", num_classes=5, input_size=32, stem="imagenet", seed=0))
    shapes = {name: tuple(c.shape) for name, c in model.constants().items() if name.startswith("classifier")}
    assert shapes == {
        "classifier.0.weight": (16, 512 * 49), "classifier.0.bias": (16,),
        "classifier.3.weight": (16, 16), "classifier.3.bias": (16,),
        "classifier.6.weight": (5, 16), "classifier.6.bias": (5,),
    }  # fmt: skip
    assert run.logits(model, run.images(model, 2)).shape == (2, 5)


def test_each_pooling_halves_and_rounds_down() -> None:
    assert VGG((1, 1, 1, 1, 1)).smallest_input("imagenet") == 32
    tensors = models.build("vgg11", num_classes=2, input_size=63, stem="cifar").graph.tensors()
    assert tensors["features.20"].shape == ["N", 512, 1, 1]
