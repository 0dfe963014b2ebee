"""Accuracy right after one-shot pruning, without training.

``one_shot.py MODEL DATA [OUT.json [IMAGES [THREADS]]]`` prints two tables of all test images: sparsity by
criterion, and 2:4 by criterion. Criteria that look at data see IMAGES training images (1024). OUT.json
(one_shot.json) is written after every cell; cells that it has are not run again.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from onnxcomp import gradients, grams, graphs, pipeline, recipe
from onnxcomp import model as models
from onnxcomp.data import open_data
from onnxcomp.model import Model
from onnxcomp.parity.accuracy import accuracy
from onnxcomp.passes.base import Array, Gradients
from onnxcomp.passes.prune.criteria import mean_statistics
from onnxcomp.runtime import default_threads

SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9)
METHODS = {
    "magnitude, uniform": "criterion=magnitude allocation=uniform",
    "magnitude, global": "criterion=magnitude allocation=global",
    "OBD": "criterion=obd allocation=global",
    "OBS": "criterion=obs allocation=global",
}
DENSE = "dense"


@dataclass(frozen=True)
class Remembered:
    """Gradients whose root mean square is computed once; one batch of them stands for all the images.

    The mean of the squares, all that Optimal Brain Damage asks for, is the same.
    """

    source: Gradients
    found: dict[str, Array] = field(default_factory=dict)

    def per_batch(self, model: Model, names: Sequence[str]) -> Iterator[Mapping[str, Array]]:
        if not self.found:
            means = mean_statistics("obd", self.source.per_batch(model, names))
            self.found.update({name: np.sqrt(mean) for name, mean in means.items()})
        yield self.found


def cells() -> dict[str, str]:
    """Recipe of every cell by name, the hardest first."""
    found = {DENSE: ""}
    for method, options in reversed(METHODS.items()):
        for sparsity in reversed(SPARSITIES):
            found[f"{method} {sparsity:.0%}"] = f"prune{{sparsity={sparsity} schedule=one-shot {options}}}"
        if "uniform" not in method:  # every group of four loses two: there is nothing to allocate
            found[f"{method.split(',')[0]} 2:4"] = f"prune{{pattern=2:4 schedule=one-shot {options}}}"
    return found


def measure(model: Model, text: str, data: Any, sources: dict[str, Any], threads: int) -> dict[str, Any]:
    """Apply and evaluate one cell."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = pipeline.apply(model, recipe.parse(text), **sources) if text else model
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    masks = [mask.values for mask in graphs.masks(result.graph).values()]
    total = sum(mask.size for mask in masks)
    return {
        "recipe": text,
        "top1": accuracy(result, data.test, threads=threads),
        "zeros": sum(int(np.count_nonzero(mask == 0)) for mask in masks) / total if total else 0.0,
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def table(found: Mapping[str, Any]) -> str:
    """Both tables as text, ``-`` for what is not there yet."""

    def top1(name: str) -> str:
        return f"{found[name]['top1']:.2f}" if name in found else "-"

    columns = [f"{sparsity:.0%}" for sparsity in SPARSITIES]
    rows = [("zeros", *columns)]
    rows += [(method, *(top1(f"{method} {column}") for column in columns)) for method in METHODS]
    rows += [(name, top1(name)) for name in cells() if name == DENSE or name.endswith("2:4")]
    return "".join(f"{name:20}{''.join(f'{text:>8}' for text in texts)}\n" for name, *texts in rows)


def main(path: str, data_name: str, output: str = "one_shot.json", images: str = "1024", *rest: str) -> None:
    model, data = models.load(path), open_data(data_name)
    threads = int(rest[0]) if rest else default_threads()
    looked = {"images": int(images), "threads": threads}
    sources = {
        "grams": grams.from_data(model, data, **looked),
        "gradients": Remembered(gradients.from_data(model, data, **looked)),
    }
    file = Path(output)
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name, text in cells().items():
        if name not in found:
            found[name] = measure(model, text, data, sources, threads)
            file.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
            sys.stderr.write(f"{name}: {found[name]}\n")
    sys.stdout.write(table(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
