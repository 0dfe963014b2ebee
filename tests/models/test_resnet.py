"""ResNet's structure, names and initial weights."""

from __future__ import annotations

import numpy as np
import pytest

from onnxcomp import models


def test_names_follow_the_module_path() -> None:
    graph = models.build("resnet50", num_classes=2, input_size=64).graph
    nodes = {node.name: node for node in graph.nodes}
    for name, op in {
        "conv1": "Conv",
        "bn1": "BatchNormalization",
        "relu": "Relu",
        "maxpool": "MaxPool",
        "layer1.0.conv3": "Conv",
        "layer1.0.bn3": "BatchNormalization",
        "layer1.0.downsample.0": "Conv",
        "layer1.0.downsample.1": "BatchNormalization",
        "layer3.5.conv2": "Conv",
        "layer4.2.relu": "Relu",
        "avgpool": "GlobalAveragePool",
        "fc": "Gemm",
    }.items():
        assert nodes[name].op == op
        for tensor in nodes[name].inputs[1:]:
            assert tensor.name.startswith(f"{name}.")
    assert sum(node.op in ("Conv", "Gemm") for node in graph.nodes) == 50 + 4  # and the shortcuts
    # torchvision puts the stride on the 3x3.
    strides = [nodes[f"layer2.0.conv{i}"].attrs["strides"] for i in (1, 2, 3)]
    assert strides == [[1, 1], [2, 2], [1, 1]]
    assert [name for name in nodes if name.endswith("downsample.0")] == [
        f"layer{stage}.0.downsample.0" for stage in (1, 2, 3, 4)
    ]


def test_a_block_adds_its_shortcut_before_the_last_relu() -> None:
    graph = models.build("resnet18", num_classes=2, input_size=32).graph
    nodes = {node.name: node for node in graph.nodes}
    sources = [tensor.inputs[0].name for tensor in nodes["layer1.1.add"].inputs]
    assert sources == ["layer1.1.bn2", "layer1.0.relu"]
    sources = [tensor.inputs[0].name for tensor in nodes["layer2.0.add"].inputs]
    assert sources == ["layer2.0.bn2", "layer2.0.downsample.1"]
    assert nodes["layer2.0.relu"].inputs[0].inputs[0].name == "layer2.0.add"


@pytest.mark.parametrize(
    ("stem", "size", "shapes"),
    [
        ("imagenet", 224, [56, 28, 14, 7]),
        ("imagenet", 32, [8, 4, 2, 1]),
        ("cifar", 32, [32, 16, 8, 4]),
        ("cifar", 1, [1, 1, 1, 1]),
    ],
)
def test_resolution_of_each_stage(stem: str, size: int, shapes: list[int]) -> None:
    graph = models.build("resnet18", num_classes=2, input_size=size, stem=stem).graph
    tensors = graph.tensors()
    assert [tensors[f"layer{stage}.1.relu"].shape[2] for stage in (1, 2, 3, 4)] == shapes


def test_initial_weights_are_he_normal_by_fan_out() -> None:
    """Deviation sqrt(2 / fan out) within 5 standard errors."""
    constants = models.build("resnet18", num_classes=2, input_size=32).constants()
    for name, fan_out in {"conv1.weight": 64 * 49, "layer4.0.conv1.weight": 512 * 9}.items():
        values = constants[name].values
        expected = np.sqrt(2 / fan_out)
        assert abs(values.std() - expected) < 5 * expected / np.sqrt(2 * values.size)
