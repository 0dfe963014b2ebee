"""LeNet-5's structure, and its answers beside PyTorch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnxcomp import models
from onnxcomp.errors import ModelError
from onnxcomp.models.lenet import LeNet
from onnxcomp.report.size import count_parameters
from tests.models import twin


def module(torch: Any, side: int) -> Any:
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
            self.fc1, self.fc2 = nn.Linear(16 * side * side, 120), nn.Linear(120, 84)
            self.fc3 = nn.Linear(84, twin.CLASSES)

        def forward(self, x: Any) -> Any:
            for conv in (self.conv1, self.conv2):
                x = nn.functional.max_pool2d(conv(x).relu(), 2)
            return self.fc3(self.fc2(self.fc1(x.flatten(1)).relu()).relu())

    return Net()


def test_layers_and_names() -> None:
    model = models.build("lenet5", num_classes=10)
    assert model.image_shape == (3, 32, 32)
    shapes = {name: tuple(c.shape) for name, c in model.constants().items() if name.endswith("weight")}
    assert shapes == {
        "conv1.weight": (6, 3, 5, 5), "conv2.weight": (16, 6, 5, 5),
        "fc1.weight": (120, 400), "fc2.weight": (84, 120), "fc3.weight": (10, 84),
    }  # fmt: skip
    # The paper's layers C1, C3, C5, F6 with biases, every map of C3 reading all of S2, and ten logits.
    paper = 6 * 76 + 16 * 151 + 120 * 401 + 84 * 121 + 10 * 85
    assert count_parameters(model).total == paper == 62_006
    assert [node.op for node in model.graph.nodes] == [
        *["Conv", "Relu", "MaxPool"] * 2, "Flatten", *["Gemm", "Relu"] * 2, "Gemm",
    ]  # fmt: skip


def test_sizes() -> None:
    assert LeNet().smallest_input("cifar") == 16
    assert models.build("lenet5", input_size=28).constants()["fc1.weight"].shape == (120, 16 * 4 * 4)


def test_it_has_one_form() -> None:
    with pytest.raises(ModelError) as refusal:
        models.build("lenet5", stem="imagenet")
    assert str(refusal.value) == "lenet5: it has no form with the stem imagenet; use the stem cifar"


@pytest.mark.parametrize(("size", "side"), [(32, 5), (19, 1)])
def test_answers_as_pytorch(tmp_path: Path, size: int, side: int) -> None:
    torch = pytest.importorskip("torch", reason="needs torch, which is not installed here")
    twin.assert_twins(LeNet(), size, "cifar", tmp_path, module(torch, side))


def test_answers_as_recorded(tmp_path: Path) -> None:
    twin.assert_recorded(LeNet(), 32, "cifar", tmp_path, [-3.305487, -0.405988, -0.218293, 2.041222])
