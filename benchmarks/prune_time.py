"""Seconds that pruning DenseNet201 in one shot takes, beside Polygraphy: ``prune_time.py [RUNS [MODEL]]``.

Pruning 90 % by magnitude, all layers ranked together, and 2:4 in every layer that can have it; the pass, what
is around it, and the whole command. Polygraphy's ``surgeon prune`` (2:4 alone) is timed as the function
behind it, without reading and writing files, once; the weights that it sets to 0 must be those that the
masks close. Prints a table and writes prune_time.json. CPU seconds, one thread; the smallest, median and
largest of RUNS.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from onnxcomp import graphs, pipeline
from onnxcomp import model as models
from onnxcomp import recipe as recipes
from onnxcomp.models import build
from onnxcomp.passes.base import Context

T = TypeVar("T")
Seconds = dict[str, list[float]]
RECIPES = {
    "90 %": "prune{sparsity=0.9 schedule=one-shot}",
    "2:4": 'prune{pattern="2:4" schedule=one-shot keep_first=false keep_last=false}',
}


def timed(seconds: Seconds, name: str, call: Callable[[], T]) -> T:
    start = time.process_time()
    result = call()
    seconds.setdefault(name, []).append(time.process_time() - start)
    return result


def apply(seconds: Seconds, name: str, path: Path, folder: Path) -> dict[str, NDArray[Any]]:
    """One run in this process; the masks by weight."""
    model = timed(seconds, f"{name}: load", lambda: models.load(path))
    (prune,) = recipes.parse(RECIPES[name]).passes
    kept = model.copy()
    context = Context(kept)

    def run() -> None:
        prune.requires(model, context)
        prune.apply(model, context)

    timed(seconds, f"{name}: the pass", run)
    recipe = recipes.Recipe((prune,))
    result = timed(seconds, f"{name}: apply, checks with it", lambda: pipeline.apply(kept, recipe))
    timed(seconds, f"{name}: save", lambda: models.save(result, folder / "c.onnx"))
    return {weight: mask.values for weight, mask in graphs.masks(result.graph).items()}


def command(seconds: Seconds, name: str, path: Path, folder: Path) -> None:
    """One run of ``onnxcomp apply``, Python's start and the files included."""
    before = _children()
    arguments = ["apply", RECIPES[name], str(path), "-o", str(folder / "d.onnx")]
    subprocess.run(
        [sys.executable, "-m", "onnxcomp.cli", *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    seconds.setdefault(f"{name}: the whole command", []).append(_children() - before)


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def polygraphy(seconds: Seconds, path: Path) -> dict[str, NDArray[Any]]:
    """What ``polygraphy surgeon prune`` leaves of each weight, by name."""
    from polygraphy.logger import G_LOGGER
    from polygraphy.tools.sparse import SparsityPruner

    G_LOGGER.module_severity = G_LOGGER.ERROR
    proto = onnx.load(path)
    with np.errstate(over="ignore"):  # it compares float32 with the largest float64
        pruned = timed(seconds, "2:4: Polygraphy", lambda: SparsityPruner(proto).prune())
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in pruned.graph.initializer}


def differing(masks: dict[str, NDArray[Any]], dense: models.Model, pruned: dict[str, NDArray[Any]]) -> int:
    """Weights that only one of the two sets to 0, of all that either touches."""
    constants, count = dense.constants(), 0
    for weight in graphs.weights(dense.graph):
        values = constants[weight.name].values
        ours = values * masks.get(weight.name, np.float32(1))
        count += int(np.count_nonzero(ours != pruned[weight.name]))
    return count


def main(runs: str = "5", path: str = "") -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, seconds = Path(name), Seconds()
        given = Path(path) if path else folder / "m.onnx"
        if not path:
            models.save(build("densenet201", num_classes=10, input_size=32), given)
        masks: dict[str, NDArray[Any]] = {}
        for turn in range(int(runs) + 1):
            found: Seconds = seconds if turn else {}  # the first run is none that counts
            for kind in RECIPES:
                masks = apply(found, kind, given, folder)
                command(found, kind, given, folder)
        theirs = polygraphy(seconds, given)
        different = differing(masks, models.load(given), theirs)
    for step, values in seconds.items():
        line = f"{step:32} {min(values):7.2f} {median(values):7.2f} {max(values):7.2f} s"
        sys.stdout.write(f"{line}\n")
    total = sum(mask.size for mask in masks.values())
    closed = sum(int(np.count_nonzero(mask == 0)) for mask in masks.values())
    sys.stdout.write(f"2:4 in {len(masks)} weights, {closed:,} of {total:,} closed; ")
    sys.stdout.write(f"{different} differ from Polygraphy's\n")
    report = {"seconds": seconds, "weights": len(masks), "closed": closed, "differing": different}
    Path("prune_time.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if different:
        raise SystemExit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
