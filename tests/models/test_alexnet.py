"""AlexNet's structure, names and two forms, and its answers beside PyTorch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxcomp import macs, models
from onnxcomp.models.alexnet import AlexNet
from onnxcomp.report.size import count_parameters
from tests.models import twin

SMALL = AlexNet(widths=(8, 12, 16, 12, 8), hidden=20)


def module(torch: Any, stem: str) -> Any:
    nn, (a, b, c, d, e) = torch.nn, SMALL.widths
    first = nn.Conv2d(3, a, 3, padding=1) if stem == "cifar" else nn.Conv2d(3, a, 11, stride=4, padding=2)
    net, grid = nn.Module(), 3 if stem == "cifar" else 6
    features = [
        *(first, nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(a, b, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU(), nn.Conv2d(c, d, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(d, e, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2)),
    ]
    hidden = SMALL.hidden
    classifier = [
        *(nn.Dropout(), nn.Linear(e * grid * grid, hidden), nn.ReLU()),
        *(nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, twin.CLASSES)),
    ]
    net.features, net.pool = nn.Sequential(*features), nn.AdaptiveAvgPool2d(grid)
    net.classifier = nn.Sequential(*classifier)
    net.forward = lambda x: net.classifier(net.pool(net.features(x)).flatten(1))
    return net


def test_parameters_and_work_are_torchvisions() -> None:
    """Published: 61,100,840 parameters, 0.71 GFLOPS, at least 63x63."""
    model = models.build("alexnet")
    assert count_parameters(model).total == 61_100_840
    assert macs.total(model.graph) == 714_188_480
    assert AlexNet().smallest_input("imagenet") == 63
    shapes = {name: tuple(c.shape) for name, c in model.constants().items() if name.endswith("weight")}
    assert shapes == {
        "features.0.weight": (64, 3, 11, 11), "features.3.weight": (192, 64, 5, 5),
        "features.6.weight": (384, 192, 3, 3), "features.8.weight": (256, 384, 3, 3),
        "features.10.weight": (256, 256, 3, 3), "classifier.1.weight": (4096, 9216),
        "classifier.4.weight": (4096, 4096), "classifier.6.weight": (1000, 4096),
    }  # fmt: skip
    assert not any("avgpool" in node.name for node in model.graph.nodes)  # 6x6 already


@pytest.mark.parametrize(
    ("stem", "size", "sides"),
    [("imagenet", 224, [55, 27, 13, 6]), ("imagenet", 63, [15, 7, 3, 1]), ("cifar", 32, [32, 15, 7, 3])],
)
def test_resolution(stem: str, size: int, sides: list[int]) -> None:
    tensors = twin.build(SMALL, size, stem).graph.tensors()
    assert [tensors[f"features.{index}"].shape[2] for index in (0, 2, 5, 12)] == sides


def test_smallest_input_of_the_cifar_form() -> None:
    assert SMALL.smallest_input("cifar") == 15
    assert twin.build(SMALL, 15, "cifar").graph.tensors()["features.12"].shape[2:] == [1, 1]


def test_initial_weights_are_he_normal() -> None:
    """Deviation sqrt(2 / fan in) within 5 standard errors, of convolutions and hidden Linear layers."""
    constants = twin.build(AlexNet(hidden=64), 32, "cifar").constants()
    for name, fan_in in {"features.3.weight": 64 * 25, "classifier.1.weight": 256 * 9}.items():
        values, expected = constants[name].values, np.sqrt(2 / fan_in)
        assert abs(values.std() - expected) < 5 * expected / np.sqrt(2 * values.size)


@pytest.mark.parametrize(
    ("stem", "size"), [("imagenet", 224), ("imagenet", 97), ("cifar", 32), ("cifar", 48)]
)
def test_answers_as_pytorch(tmp_path: Path, stem: str, size: int) -> None:
    torch = pytest.importorskip("torch", reason="needs torch, which is not installed here")
    twin.assert_twins(SMALL, size, stem, tmp_path, module(torch, stem))


@pytest.mark.parametrize(
    ("stem", "size", "expected"),
    [
        ("imagenet", 97, [-1.427369, -14.02791, 3.676559, -7.945677]),
        ("cifar", 32, [8.27756, -6.875217, 6.047726, -5.797979]),
    ],
)
def test_answers_as_recorded(tmp_path: Path, stem: str, size: int, expected: list[float]) -> None:
    twin.assert_recorded(SMALL, size, stem, tmp_path, expected)
