"""What was measured: accuracy and loss by layer and sparsity, and the file that holds them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnxcomp import files
from onnxcomp.sensitivity.scores import Point

FORMAT = "onnxcomp.sensitivity.1"


@dataclass(frozen=True)
class Curves:
    """The network with one layer pruned, the others dense; layer by layer.

    Attributes:
        model: SHA-256 of the network's structure and weights.
        data: which images, in words.
        criterion, pattern: by which the layer's weights were chosen.
        images: their number.
        dense: the network as it is.
        layers: by the weight's name in graph order, then by sparsity, ascending: the share of the
            layer's weights that is zero.
        left: why a weight could not be pruned, by its name.
    """

    model: str
    data: str
    criterion: str
    pattern: str
    images: int
    dense: Point
    layers: Mapping[str, Mapping[float, Point]]
    left: Mapping[str, str]

    def drop(self, name: str, sparsity: float) -> float:
        """What top-1 accuracy loses, in points; below 0 where it gains."""
        return self.dense.top1 - self.layers[name][sparsity].top1

    @property
    def sparsities(self) -> list[float]:
        """All that were measured, ascending."""
        return sorted({sparsity for points in self.layers.values() for sparsity in points})

    def by_sensitivity(self) -> list[str]:
        """The weights, the most sensitive first: by the mean loss over the sparsities.

        The loss tells layers apart that the accuracy of some hundred images does not.
        """
        return sorted(self.layers, key=lambda name: -self.rise(name))

    def rise(self, name: str) -> float:
        """By how much the loss grows, in nats: the mean over the sparsities."""
        points = self.layers[name].values()
        return sum(point.loss for point in points) / len(points) - self.dense.loss


def to_json(curves: Curves) -> dict[str, Any]:
    """As the file holds it; sparsities are keys such as ``"0.5"``."""
    layers = {
        name: {repr(sparsity): asdict(point) for sparsity, point in points.items()}
        for name, points in curves.layers.items()
    }
    return {
        "format": FORMAT,
        "model": curves.model,
        "data": curves.data,
        "criterion": curves.criterion,
        "pattern": curves.pattern,
        "images": curves.images,
        "dense": asdict(curves.dense),
        "layers": layers,
        "left": dict(curves.left),
    }


def save(curves: Curves, path: Path) -> None:
    """Write the file in one step.

    Raises:
        OnnxcompError: ``path`` cannot be written.
    """
    text = json.dumps(to_json(curves), indent=1, allow_nan=False)
    files.write_atomically(path, lambda temporary: _write(temporary, text))


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
