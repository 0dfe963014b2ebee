"""What each lowering brings: engine steps with it and without it, in turns: ``lowerings.py [NETWORK ...]``.

The full step (masks, fake quantisation, teacher, losses) at batch 32, one thread, without the optimiser.
A figure above 1 says how many times longer the step takes without the lowering. Prints a table and
writes lowerings.json.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median

import forms
import numpy as np

from onnxcomp.training import engine
from onnxcomp.training.lowering import (
    average_pool,
    channel_major,
    integer_kernels,
    merge_masks,
    projected,
    relu_gradient,
    small_conv,
    views,
)

NETWORKS = ("densenet201", "resnet18", "vgg11_bn/cifar")
OPTIONAL = (
    channel_major,
    small_conv,
    average_pool,
    relu_gradient,
    integer_kernels,
    merge_masks,
    projected,
    views,
)
BATCH, ROUNDS = 32, 7


def seconds(trained: engine.Engine, images: np.ndarray, labels: np.ndarray) -> float:
    start = time.process_time()
    trained.step(images, labels)
    return time.process_time() - start


def measure(network: str) -> dict[str, dict[str, float]]:
    """Ratios (without / with) and node counts by lowering."""
    model = forms.compressed(forms.dense(network))
    rng = np.random.default_rng(0)
    images = rng.standard_normal((BATCH, *model.image_shape)).astype(np.float32)
    labels = rng.integers(0, model.num_classes, BATCH)
    whole = engine.build(model, batch_size=BATCH, threads=1, projected=True)
    counts = {rewrite.name: rewrite.nodes for rewrite in whole.rewrites}
    found = {}
    for module in OPTIONAL:
        name = module.LOWERING.name
        if not counts[name]:
            continue
        part = engine.build(model, batch_size=BATCH, threads=1, projected=True, without=[name])
        seconds(whole, images, labels)
        seconds(part, images, labels)
        ratios = [seconds(part, images, labels) / seconds(whole, images, labels) for _ in range(ROUNDS)]
        found[name] = {
            "nodes": counts[name],
            "min": min(ratios),
            "median": median(ratios),
            "max": max(ratios),
        }
        row = f"{network:16} {name:24} {counts[name]:5}"
        sys.stdout.write(f"{row}  {min(ratios):5.2f} {median(ratios):5.2f} {max(ratios):5.2f}\n")
        sys.stdout.flush()
    return found


def main(networks: list[str]) -> None:
    results = {network: measure(network) for network in networks or NETWORKS}
    Path("lowerings.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
