"""Seconds that ``apply prune,qat,distill`` takes on DenseNet201, calibration apart: ``apply_time.py [RUNS]``.

Prints a table and writes apply_time.json. CPU seconds, one thread; each run loads, applies and saves.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from onnxcomp import model as models
from onnxcomp import pipeline
from onnxcomp import recipe as recipes
from onnxcomp.calibration import ImageCalibration
from onnxcomp.model import Model
from onnxcomp.models import build
from onnxcomp.observed import Observed

RECIPE = recipes.parse("prune,qat,distill")


class Timed:
    """Calibration on random images that adds up its own time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.labels = np.zeros(32, np.int64)

    def observe(self, model: Model, tensors: Sequence[str], *, histogram: bool = True) -> dict[str, Observed]:
        start = time.process_time()
        images = np.random.default_rng(0).standard_normal((32, *model.image_shape)).astype(np.float32)
        found = ImageCalibration(lambda: [images], threads=1).observe(model, tensors, histogram=histogram)
        self.seconds += time.process_time() - start
        return found

    def run(self, model: Model, tensors: Sequence[str]) -> Iterator[dict[str, np.ndarray]]:
        start = time.process_time()
        images = np.random.default_rng(0).standard_normal((32, *model.image_shape)).astype(np.float32)
        found = list(ImageCalibration(lambda: [images], threads=1).run(model, tensors))
        self.seconds += time.process_time() - start
        return iter(found)


def measure(folder: Path) -> dict[str, float]:
    """Seconds by step of one run."""
    calibration = Timed()
    seconds: dict[str, float] = {}

    def timed(name: str, call: Callable[[], Any]) -> Any:
        start = time.process_time()
        result = call()
        seconds[name] = time.process_time() - start
        return result

    model = timed("load", lambda: models.load(folder / "m.onnx"))
    result = timed("passes", lambda: pipeline.apply(model, RECIPE, calibration=calibration))
    seconds["passes"] -= calibration.seconds
    timed("save", lambda: models.save(result, folder / "c.onnx"))
    seconds["total"] = sum(seconds.values())
    seconds["calibration (32 images), apart"] = calibration.seconds
    return seconds


def main(runs: str = "5") -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models.save(build("densenet201", num_classes=10, input_size=32), folder / "m.onnx")
        measure(folder)
        found = [measure(folder) for _ in range(int(runs))]
    table = {step: [run[step] for run in found] for step in found[0]}
    for step, values in table.items():
        sys.stdout.write(f"{step:32} {min(values):6.2f} {median(values):6.2f} {max(values):6.2f} s\n")
    Path("apply_time.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
