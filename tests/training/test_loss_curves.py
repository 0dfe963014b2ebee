"""Training against PyTorch: the same weights and batches give the same losses, where torch is installed."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from tests.project import ROOT

pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="module")
def loss_curves() -> ModuleType:
    """The benchmark of that name; its modules import each other as scripts do."""
    folder = str(ROOT / "benchmarks")
    sys.path.insert(0, folder)
    try:
        import loss_curves
    finally:
        sys.path.remove(folder)
    return loss_curves


@pytest.mark.parametrize("network", ["densenet-bc-40-12/cifar", "resnet18", "vgg11_bn/cifar"])
def test_losses_are_pytorchs(loss_curves: ModuleType, network: str) -> None:
    """To 1e-3 over 6 steps, after 10 of PyTorch, with BatchNormalization and folded."""
    batches = loss_curves.noise(16, 16)
    start = loss_curves.started(network, batches[:10])
    for folded in (False, True):
        found = loss_curves.curves(network, start, batches[10:], folded=folded)
        assert found.difference < 1e-3, found
