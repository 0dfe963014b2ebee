"""MobileNet-V2's structure, names and two stems, and its answers beside PyTorch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcomp import macs, models
from onnxcomp.models.mobilenet import MobileNetV2
from onnxcomp.report.size import count_parameters
from tests.models import twin

SMALL = MobileNetV2(width_mult=0.25)
# Of SMALL, rounded to 8 by hand: 0.25 * (16, 24, 32, 64, 96, 160, 320), and never a tenth less.
WIDTHS = (8, 8, 8, 16, 24, 40, 80)


def module(torch: Any, stem: str) -> Any:
    nn = torch.nn

    def unit(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> Any:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6())

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
            super().__init__()
            hidden, self.shortcut = inputs * expansion, stride == 1 and inputs == outputs
            wide = [unit(inputs, hidden, 1)] if expansion > 1 else []
            narrow = [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
            self.conv = nn.Sequential(*wide, unit(hidden, hidden, 3, stride, hidden), *narrow)

        def forward(self, x: Any) -> Any:
            return x + self.conv(x) if self.shortcut else self.conv(x)

    strides = (1, 1, 2, 2, 1, 2, 1) if stem == "cifar" else (1, 2, 2, 2, 1, 2, 1)
    layers, width = [unit(3, 8, 3, 1 if stem == "cifar" else 2)], 8
    stages = zip(WIDTHS, (1, 2, 3, 4, 3, 3, 1), strides, strict=True)
    for stage, (outputs, count, stride) in enumerate(stages):
        for number in range(count):
            layers.append(Block(width, outputs, 1 if number else stride, 6 if stage else 1))
            width = outputs
    net = nn.Module()
    net.features = nn.Sequential(*layers, unit(width, 1280, 1))
    net.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, twin.CLASSES))
    net.forward = lambda x: net.classifier(net.features(x).mean((2, 3)))
    return net


def test_parameters_and_work_are_torchvisions() -> None:
    """Published: 3,504,872 parameters, 0.30 GFLOPS."""
    model = models.build("mobilenet_v2")
    assert count_parameters(model).total == 3_504_872
    assert macs.total(model.graph) == 300_774_272


def test_names_follow_the_module_path() -> None:
    graph = models.build("mobilenet_v2", num_classes=2, input_size=32).graph
    nodes = {node.name: node for node in graph.nodes}
    for name, op in {
        "features.0.0": "Conv", "features.0.1": "BatchNormalization", "features.0.2": "Clip",
        "features.1.conv.0.0": "Conv", "features.1.conv.1": "Conv", "features.1.conv.2": "BatchNormalization",
        "features.3.conv.0.0": "Conv", "features.3.conv.1.0": "Conv", "features.3.conv.1.2": "Clip",
        "features.3.conv.2": "Conv", "features.3.conv.3": "BatchNormalization", "features.3.add": "Add",
        "features.18.0": "Conv", "features.18.2": "Clip", "classifier.1": "Gemm",
    }.items():  # fmt: skip
        assert nodes[name].op == op
        for tensor in nodes[name].inputs[1:] if op != "Add" else []:
            assert tensor.name.startswith(f"{name}.")
    assert sum(node.op == "Conv" for node in graph.nodes) == 52
    depthwise = nodes["features.3.conv.1.0"]
    assert depthwise.attrs["group"] == 144
    assert depthwise.inputs[1].shape == (144, 1, 3, 3)
    assert [float(bound.values) for bound in nodes["features.0.2"].inputs[1:]] == [0, 6]
    assert [name for name in nodes if name.endswith(".add")] == [
        f"features.{index}.add" for index in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)
    ]


@pytest.mark.parametrize(
    ("stem", "size", "sides"),
    [
        ("imagenet", 224, [112, 56, 28, 14, 7, 7]),
        ("cifar", 32, [32, 32, 16, 8, 4, 4]),
        ("imagenet", 1, [1] * 6),
    ],
)
def test_resolution(stem: str, size: int, sides: list[int]) -> None:
    tensors = twin.build(SMALL, size, stem).graph.tensors()
    names = ["features.0.2", *(f"features.{i}.conv.3" for i in (2, 4, 7, 14)), "features.18.2"]
    assert [tensors[name].shape[2] for name in names] == sides


def test_widths_are_rounded_as_torchvision_rounds() -> None:
    constants = twin.build(MobileNetV2(width_mult=0.35), 32).constants()
    layers = ["features.1.conv.2", *(f"features.{i}.conv.3" for i in (2, 4, 7, 11, 14, 17))]
    found = [constants[f"{layer}.weight"].shape[0] for layer in layers]
    # 5.6, 8.4, 11.2, 22.4, 33.6, 56, 112: 5.6 is at least one 8, 11.2 would lose a third as 8.
    assert found == [8, 8, 16, 24, 32, 56, 112]
    wide = twin.build(MobileNetV2(width_mult=1.4), 32).constants()
    assert wide["classifier.1.weight"].shape == (twin.CLASSES, 1792)


def test_initial_weights_are_he_normal_by_fan_out() -> None:
    """Deviation sqrt(2 / fan out) within 5 standard errors; a depthwise filter's fan is its own nine."""
    constants = models.build("mobilenet_v2", num_classes=2, input_size=32).constants()
    for name, fan_out in {"features.18.0.weight": 1280, "features.17.conv.1.0.weight": 9}.items():
        values, expected = constants[name].values, np.sqrt(2 / fan_out)
        assert abs(values.std() - expected) < 5 * expected / np.sqrt(2 * values.size)


@pytest.mark.parametrize("stem", models.STEMS)
def test_answers_as_pytorch(tmp_path: Path, stem: str) -> None:
    torch = pytest.importorskip("torch", reason="needs torch, which is not installed here")
    twin.assert_twins(SMALL, 32, stem, tmp_path, module(torch, stem))


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("imagenet", [-0.590876, 0.653765, 4.307973, 0.557688]),
        ("cifar", [-1.586813, 3.088546, 2.173367, 2.261284]),
    ],
)
def test_answers_as_recorded(tmp_path: Path, stem: str, expected: list[float]) -> None:
    twin.assert_recorded(SMALL, 32, stem, tmp_path, expected)
