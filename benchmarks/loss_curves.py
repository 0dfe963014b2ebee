"""Loss curves of onnxcomp and PyTorch from the same weights, batches and hyper-parameters.

Plain training: task loss, SGD with Nesterov momentum, a constant learning rate. Both sides see the same
arrays in the same order, from a network that PyTorch has trained for a while. PyTorch is run in float64
as well: how far its own float32 curve is from that says how much of a difference is rounding alone.

Exit code 1 where a curve of onnxcomp leaves PyTorch's by more than the tolerance. Needs
``onnxcomp[train]`` and torch in one environment; writes loss_curves.json.
"""

# ruff: noqa: TID253 - needs PyTorch by its nature

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forms
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch_compression import PlainTorch

from onnxcomp import pipeline
from onnxcomp.fold_bn import fold_bn
from onnxcomp.model import Model
from onnxcomp.training import engine
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.trainer import Trainer

NETWORKS = ("densenet-bc-40-12/cifar", "densenet201", "resnet18", "vgg11_bn/cifar")
TOLERANCE = 1e-3
LR = 0.005  # that of `onnxcomp train`
# Without normalisation a step of that size is chaotic: PyTorch's float32 curve leaves its float64 one.
FOLDED_LR = 0.001
START_LR = 0.02
CIFAR = Path(__file__).resolve().parents[2] / "shared" / "data" / "cifar10-images.zip"
Batch = tuple[NDArray[np.float32], NDArray[np.int64]]


@dataclass(frozen=True)
class Curves:
    """Losses of each step, and the largest relative difference from PyTorch in float32.

    Attributes:
        network, folded: what was trained.
        onnxcomp, torch, torch64: losses before each step.
    """

    network: str
    folded: bool
    onnxcomp: list[float]
    torch: list[float]
    torch64: list[float]

    @property
    def difference(self) -> float:
        """Largest relative difference between onnxcomp and PyTorch."""
        return _largest(self.onnxcomp, self.torch)

    @property
    def rounding(self) -> float:
        """Largest relative difference between PyTorch in float32 and in float64."""
        return _largest(self.torch, self.torch64)


def _largest(found: Sequence[float], expected: Sequence[float]) -> float:
    return max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))


def started(network: str, batches: Sequence[Batch]) -> Model:
    """A network that PyTorch has trained on ``batches``.

    Fresh random weights are no state to compare from: some normalised channels are nearly constant,
    their gradients nearly unbounded, and rounding alone drives PyTorch's float32 and float64 curves
    apart by percents within ten steps, at any learning rate.
    """
    dense = forms.dense(network)
    training = PlainTorch(network, forms.parameters(dense), ["fused"], START_LR)
    for images, labels in batches:
        training.step(images, labels)
    _measure_statistics(training.module, batches[-16:])
    state = training.module.state_dict()
    for name, constant in dense.constants().items():
        if name in state:
            constant.values = state[name].numpy().copy()
    return dense


def _measure_statistics(module: nn.Module, batches: Sequence[Batch]) -> None:
    """Set the running statistics, which lag behind short trainings, to the averages over ``batches``."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.reset_running_stats()
            part.momentum = None
    with torch.no_grad():
        for images, _ in batches:
            module(torch.from_numpy(images))


def curves(network: str, start: Model, batches: Sequence[Batch], *, folded: bool) -> Curves:
    """Train all three sides from ``start``, which is left alone, on ``batches``, one step each."""
    dense = start.copy()
    if folded:
        fold_bn(dense.graph)
    model = pipeline.with_task_loss(dense)
    size, lr = len(batches[0][0]), FOLDED_LR if folded else LR
    config = TrainConfig(epochs=1, batch_size=size, lr=lr, schedule="constant", warmup=0, threads=1)
    trainer = Trainer(engine.build(model, batch_size=size, threads=1), model, config, len(batches))
    arrays = forms.parameters(dense)
    theirs = PlainTorch(network, arrays, ["foreach"], lr)
    exact = PlainTorch(network, arrays, ["foreach"], lr)
    exact.module.double()
    return Curves(
        network,
        folded,
        [trainer.step(index, [batch]).losses["loss"] for index, batch in enumerate(batches)],
        [theirs.step(images, labels) for images, labels in batches],
        [exact.step(images.astype(np.float64), labels) for images, labels in batches],
    )


def cifar(count: int, size: int) -> list[Batch]:
    """Batches of CIFAR-10's training images, in an order drawn once."""
    from onnxcomp.data import open_data, to_input
    from onnxcomp.preprocess import PREPROCESSING

    images = open_data(str(CIFAR)).train
    chosen = np.random.default_rng(0).permutation(len(images))[: count * size].reshape(count, size)
    return [
        (to_input(images.load(index, (32, 32)), PREPROCESSING["cifar10"], 3), images.labels[index])
        for index in chosen
    ]


def noise(count: int, size: int) -> list[Batch]:
    """Batches of smooth random images whose brightest third tells the class; no download."""
    rng = np.random.default_rng(0)
    batches = []
    for _ in range(count):
        labels = rng.integers(0, forms.CLASSES, size)
        images = rng.standard_normal((size, 3, forms.SIZE, forms.SIZE)).astype(np.float32)
        for image, label in zip(images, labels, strict=True):
            image[label % 3, 3 * label : 3 * label + 4] += 2
        batches.append((images, labels))
    return batches


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME[/STEM]")
    parser.add_argument("--start", type=int, default=200, help="steps of PyTorch before")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--json", type=Path, default=Path("loss_curves.json"))
    options = parser.parse_args()
    data = cifar if CIFAR.is_file() else noise
    torch.set_num_threads(1)
    drawn = data(options.start + options.steps, options.batch)
    before, batches = drawn[: options.start], drawn[options.start :]
    sys.stdout.write(
        f"{data.__name__}, batch {options.batch}, {options.steps} steps, lr {LR:g}, folded {FOLDED_LR:g}\n"
    )
    sys.stdout.write(f"{'network':32} {'first':>8} {'last':>8} {'difference':>11} {'rounding':>11}\n")
    results: list[dict[str, Any]] = []
    for network in options.networks:
        start = started(network, before)
        for folded in (False, True):
            found = curves(network, start, batches, folded=folded)
            name = f"{network}{' folded' if folded else ''}"
            sys.stdout.write(
                f"{name:32} {found.onnxcomp[0]:8.4f} {found.onnxcomp[-1]:8.4f}"
                f" {found.difference:11.1e} {found.rounding:11.1e}\n"
            )
            sys.stdout.flush()
            results.append({**vars(found), "difference": found.difference, "rounding": found.rounding})
    options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return int(any(result["difference"] > TOLERANCE for result in results))


if __name__ == "__main__":
    sys.exit(main())
