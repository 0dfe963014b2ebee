"""What was measured: what INT8 costs layer by layer, and the file that holds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from onnxcomp import files
from onnxcomp.sensitivity.scores import Compared, Point

FORMAT = "onnxcomp.sensitivity.qat.1"


@dataclass(frozen=True)
class Effect:
    """One layer.

    Attributes:
        alone: the network with this layer in INT8 and all others float.
        left: the network with this layer float and all others in INT8.
    """

    alone: Compared
    left: Compared


@dataclass(frozen=True)
class Effects:
    """A network in float, in INT8, and between; SQNR is that of the logits beside the float network's.

    Attributes:
        model: SHA-256 of the quantised network's structure, weights and scales.
        recipe: the passes by which it was quantised.
        data: which images, in words.
        images: their number.
        dense: the float network.
        int8: all layers in INT8.
        between: no layer in INT8, but the pairs that belong to none (residual sums, Concats, pooling, ...);
            None where there are none.
        layers: by the weight's name, in graph order.
    """

    model: str
    recipe: str
    data: str
    images: int
    dense: Point
    int8: Compared
    between: Compared | None
    layers: Mapping[str, Effect]

    def by_sensitivity(self) -> list[str]:
        """The layers, the most sensitive first: by the SQNR that one alone in INT8 leaves.

        It tells layers apart that the accuracy of some hundred images does not.
        """
        return sorted(self.layers, key=lambda name: self.layers[name].alone.decibels)

    def drop(self, point: Point) -> float:
        """Points of top-1 accuracy that a network loses beside the float one; below 0 where it gains."""
        return self.dense.top1 - point.top1

    def gain(self, name: str) -> float:
        """What SQNR gains, in dB, where this layer is left float."""
        return self.layers[name].left.decibels - self.int8.decibels


def to_json(effects: Effects) -> dict[str, Any]:
    """As the file holds it; an SQNR of null is that of equal logits."""
    found = asdict(effects)
    found["float"] = found.pop("dense")
    return {"format": FORMAT, **found, "ranking": effects.by_sensitivity()}


def save(found: Mapping[str, Any], path: Path) -> None:
    """Write what :func:`to_json` gives, and what was added to it, in one step.

    Raises:
        OnnxcompError: ``path`` cannot be written.
    """
    text = json.dumps(found, indent=1, allow_nan=False)
    files.write_atomically(path, lambda temporary: _write(temporary, text))


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")
