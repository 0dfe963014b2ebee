"""What a teacher costs a training step: ``teacher_cost.py TEACHER [--students self densenet-bc-40-12] ...``.

Each student (``self``: TEACHER is its own teacher; densenet-bc-40-12 with the stem imagenet) takes steps
without a teacher, with one that runs, and with one whose outputs are cached, in turns, in another order in
each round; what counts is the CPU seconds of a step, least, median and most of the rounds, and the median of
the ratios within a round. Images are noise, which costs the same. It prints a table and writes its JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from onnxcomp import model as models
from onnxcomp import models as architectures
from onnxcomp import pipeline, recipe
from onnxcomp.data import ImageSet, TrainingBatches
from onnxcomp.model import Model, Preprocessing
from onnxcomp.training import engine

WAYS = ("without", "step", "cache")
PREPROCESSING = Preprocessing((125.0,) * 3, (64.0,) * 3)
PIXELS = 32
Step = Callable[[int], Any]


def student(name: str, teacher: Path) -> Model:
    """The network that learns, in inference form."""
    if name == "self":
        return models.load(teacher)
    classes = models.load(teacher).num_classes
    return architectures.build(name, num_classes=classes, input_size=PIXELS, stem="imagenet")


def images(count: int, classes: int) -> ImageSet:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, PIXELS, PIXELS, 3), dtype=np.uint8)
    return ImageSet.from_arrays(pixels, rng.integers(0, classes, count), [str(n) for n in range(classes)])


def steps(plain: Model, taught: Model, batches: TrainingBatches, folder: Path, given: Any) -> dict[str, Step]:
    """A step of each way, by the number of the step."""
    options: dict[str, Any] = {"batch_size": batches.batch_size, "threads": given.threads, "projected": True}
    found: dict[str, Step] = {}
    if "without" in given.ways:
        alone = engine.build(plain, **options)
        found["without"] = lambda step: alone.step(*batches.batch(step))
    if "step" in given.ways:
        with_teacher = engine.build(taught, **options)
        found["step"] = lambda step: with_teacher.step(*batches.batch(step))
    if "cache" in given.ways:
        found["cache"] = _cached(taught, batches, folder, given.threads, engine.build(taught, **options))
    return found


def _cached(
    taught: Model, batches: TrainingBatches, folder: Path, threads: int, built: engine.Engine
) -> Step:
    from onnxcomp.training.teacher_cache import Request

    cache = Request(taught, batches, folder, threads, lambda line: None).open()
    assert cache is not None
    return lambda step: built.step(*batches.batch(step), cache(batches.indices(step)))


def measure(name: str, batch: int, given: Any) -> dict[str, Any]:
    """All rounds of one student and batch size."""
    model = student(name, given.teacher)
    own = "" if name == "self" else f'{{teacher="{given.teacher}"}}'
    plain, taught = pipeline.with_task_loss(model), pipeline.apply(model, recipe.parse(f"distill{own}"))
    data = images(batch * 8, model.num_classes)
    with tempfile.TemporaryDirectory() as folder:
        batches = TrainingBatches(data, (PIXELS, PIXELS), PREPROCESSING, 3, batch, 0, "none")
        ways = steps(plain, taught, batches, Path(folder), given)
        size = sum(path.stat().st_size for path in Path(folder).iterdir()) / len(data)
        for way in ways.values():
            way(0)
        rounds = [_round(index, ways, given.block) for index in range(given.rounds)]
    base = next(iter(ways))
    return {
        "student": name,
        "batch": batch,
        "threads": given.threads,
        "cpu": {way: _spread([one[way] for one in rounds]) for way in ways},
        "ratio": {way: median(one[way] / one[base] for one in rounds) for way in ways},
        "bytes_per_image": size,
        "rounds": rounds,
    }


def _round(index: int, ways: dict[str, Step], block: int) -> dict[str, float]:
    """CPU seconds of a step of each way."""
    turn = index % len(ways)
    order = [*ways][turn:] + [*ways][:turn]
    found = {}
    for way in order:
        start = time.process_time()
        for step in range(block):
            ways[way](index * block + step)
        found[way] = (time.process_time() - start) / block
    return found


def _spread(values: Sequence[float]) -> list[float]:
    """Least, median and most."""
    return [min(values), median(values), max(values)]


def show(result: dict[str, Any]) -> None:
    lines = ["{student}, batch {batch}, threads {threads}".format(**result)]
    for way, spread in result["cpu"].items():
        cpu = " / ".join(f"{seconds:.3f}" for seconds in spread)
        lines.append(f"  {way:8} {cpu} CPU s a step, {result['ratio'][way]:.2f} times the first")
    if "cache" in result["cpu"]:
        lines.append(f"  {result['bytes_per_image']:,.0f} bytes of the cache for an image")
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("teacher", type=Path)
    parser.add_argument("--students", nargs="+", default=["self", "densenet-bc-40-12"])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--batches", nargs="+", type=int, default=[32, 64])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--block", type=int, default=2, help="steps of a turn")
    parser.add_argument("--json", type=Path, default=Path("teacher_cost.json"))
    given = parser.parse_args()
    given.teacher = given.teacher.resolve()
    results = []
    for name in given.students:
        for batch in given.batches:
            results.append(measure(name, batch, given))
            show(results[-1])
            given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
