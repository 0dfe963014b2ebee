"""Latency of networks side by side on this CPU: ``latency.py FIRST.onnx OTHER.onnx... [--batches 1,16]``.

Runs in turns, one batch of images each, in one process; prints minimum, median and maximum in milliseconds
and the ratio to the first file, round by round, and writes latency.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from statistics import median

import numpy as np

from onnxcomp import model as models
from onnxcomp import runtime


def measure(paths: list[Path], batch: int, rounds: int, threads: int) -> dict[str, list[float]]:
    """Milliseconds of each round by file."""
    loaded = [models.load(path) for path in paths]
    sessions = [runtime.session(model, threads=threads) for model in loaded]
    feeds = [
        {model.image.name: np.random.default_rng(0).standard_normal((batch, *model.image_shape), np.float32)}
        for model in loaded
    ]
    found: dict[str, list[float]] = {str(path): [] for path in paths}
    for turn in range(rounds + 3):
        for path, session, feed in zip(paths, sessions, feeds, strict=True):
            start = time.perf_counter()
            session.run(None, feed)
            if turn >= 3:  # the first ones allocate
                found[str(path)].append(1e3 * (time.perf_counter() - start))
    return found


def three(values: list[float]) -> str:
    return f"{min(values):8.3f} {median(values):8.3f} {max(values):8.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    table = {}
    for batch in map(int, options.batches.split(",")):
        found = measure(options.paths, batch, options.rounds, options.threads)
        first = found[str(options.paths[0])]
        for name, values in found.items():
            ratios = [value / base for value, base in zip(values, first, strict=True)]
            sys.stdout.write(f"batch {batch:3}  {three(values)} ms  ratio {three(ratios)}  {name}\n")
        table[str(batch)] = found
    Path("latency.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
