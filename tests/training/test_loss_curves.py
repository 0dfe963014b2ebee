"""Training against PyTorch: the same weights and batches give the same losses, where torch is installed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from onnxcomp import model as models
from onnxcomp.training import engine
from tests.project import ROOT

pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="module", autouse=True)
def benchmarks() -> Iterator[None]:
    """Its modules import each other as scripts do."""
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    yield
    sys.path.remove(folder)


@pytest.mark.parametrize("network", ["densenet-bc-40-12/cifar", "resnet18", "vgg11_bn/cifar"])
def test_losses_are_pytorchs(network: str) -> None:
    """To 1e-3 over 6 steps, after 10 of PyTorch, with BatchNormalization and folded."""
    loss_curves = import_module("loss_curves")
    batches = loss_curves.noise(16, 16)
    start = loss_curves.started(network, batches[:10])
    for folded in (False, True):
        found = loss_curves.curves(network, start, batches[10:], folded=folded)
        assert found.difference < 1e-3, found


@pytest.mark.parametrize("network", ["densenet-bc-40-12/cifar", "resnet18"])
def test_full_step_of_the_benchmark_is_pytorchs(network: str, tmp_path: Path) -> None:
    """Masks, fake quantisers, teacher and losses: the first loss to 1 %, the first layer's gradient by
    direction. A value that rounds to the next step on one side alone changes all that follow it.
    """
    import_module("forms").write(network, tmp_path, 16)
    model = models.load(tmp_path / "full.onnx")
    ((images, labels),) = import_module("loss_curves").noise(1, 16)
    ours = engine.build(model, batch_size=16, threads=1)
    losses = ours.step(images, labels).losses
    with np.load(tmp_path / "full.npz") as arrays:
        theirs = import_module("torch_compression").FullTorch(network, dict(arrays), [], 0.0)
    assert theirs.step(images, labels) == pytest.approx(losses["loss"], rel=1e-2)
    name = next(iter(ours.gradients))
    gradient, expected = ours.gradients[name].ravel(), theirs.module.get_parameter(name).grad.numpy().ravel()
    cosine = gradient @ expected / np.linalg.norm(gradient) / np.linalg.norm(expected)
    assert cosine > 0.8
