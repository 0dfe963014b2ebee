"""Images a second that training batches come at, by augmentation and source: ``input_speed.py [REPEATS]``.

Prints a table and writes input_speed.json. Batches of 32, wall-clock seconds, minimum of REPEATS (5):

- ``32x32``: images in memory, as CIFAR-10's;
- ``224, cached``: JPEG files of 500x375 at 224x224 from the second epoch on, where the set fits in memory;
- ``224, decoded``: the same, each image decoded anew, as in the first epoch or for a large set.

Threads are those that prepare batches; nothing else runs beside them.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onnxcomp.data import ImageSet, TrainingBatches, open_data
from onnxcomp.model import Preprocessing

BATCH, SMALL, PHOTOGRAPHS = 32, 1280, 128
PREPROCESSING = Preprocessing((120.0, 118.0, 104.0), (59.0, 58.0, 60.0))
SMALL_SETS = (
    "none",
    "crop",
    "flip",
    "cutout",
    "crop,flip",
    "crop,flip,cutout",
    "randaugment",
    "crop,flip,randaugment,cutout",
    "crop,flip,autoaugment-cifar10,cutout",
    "crop,flip,fast-autoaugment-cifar10,cutout",
)
LARGE_SETS = (
    "none",
    "crop,flip",
    "resized-crop,flip",
    "resized-crop,flip,randaugment",
    "resized-crop,flip,autoaugment-imagenet",
    "resized-crop,flip,fast-autoaugment-imagenet",
)


def small_images() -> ImageSet:
    """Smooth random images of 32x32 in memory."""
    rng = np.random.default_rng(0)
    images = [photograph(rng, (32, 32)) for _ in range(SMALL)]
    return ImageSet.from_arrays(
        np.stack([np.asarray(i) for i in images]), np.arange(SMALL) % 10, [*"0123456789"]
    )


def photograph(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """A smooth image with a little noise, so that its JPEG has about the size of a photograph's."""
    smooth = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    noise = rng.normal(0, 6, (size[1], size[0], 3))
    return Image.fromarray((np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8))


def write_folder(folder: Path) -> str:
    """An image folder of JPEG files of 500x375, quality 90."""
    rng = np.random.default_rng(0)
    for split, count in (("train", PHOTOGRAPHS), ("test", 1)):
        for name in ("a", "b"):
            path = folder / split / name
            path.mkdir(parents=True)
            for number in range(count // 2 or 1):
                photograph(rng, (500, 375)).save(path / f"{number}.jpg", quality=90)
    return str(folder)


def seconds(make: Callable[[], TrainingBatches], workers: int, repeats: int) -> float:
    """Fewest seconds an image of one epoch, over ``repeats`` epochs of what ``make`` gives anew."""
    best = float("inf")
    for _ in range(repeats):
        batches = make()
        steps = batches.steps_per_epoch
        with closing(batches.iterate(0, steps, workers=workers)) as stream:
            start = time.perf_counter()
            for _batch in stream:
                pass
            best = min(best, (time.perf_counter() - start) / (steps * BATCH))
    return best


def batches_of(images: ImageSet, side: int, augment: str) -> TrainingBatches:
    """Training batches of 3 channels."""
    return TrainingBatches(images, (side, side), PREPROCESSING, 3, BATCH, 0, augment)


def decoding(spec: str, augment: str) -> TrainingBatches:
    """Batches of a folder of which nothing is decoded yet."""
    return batches_of(open_data(spec).train, 224, augment)


def main(repeats: int = 5) -> None:
    """Measure, print and write."""
    rows: list[dict[str, Any]] = []

    def row(source: str, augment: str, workers: int, make: Callable[[], TrainingBatches]) -> None:
        each = seconds(make, workers, repeats)
        rows.append({"source": source, "augment": augment, "threads": workers, "images_per_second": 1 / each})
        sys.stdout.write(
            f"{source:14} {augment:46} {workers:7} {1 / each:10,.0f} {each * BATCH * 1000:10.3f}\n"
        )
        sys.stdout.flush()

    sys.stdout.write(f"{'source':14} {'augmentation':46} {'threads':>7} {'images/s':>10} {'ms/batch':>10}\n")
    small = small_images()
    for augment in SMALL_SETS:
        for workers in (1, 2):
            row("32x32", augment, workers, partial(batches_of, small, 32, augment))
    with tempfile.TemporaryDirectory() as folder:
        spec = write_folder(Path(folder) / "images")
        cached = open_data(spec).train
        cached.check((224, 224))
        for augment in ("none", "crop,flip"):
            row("224, cached", augment, 1, partial(batches_of, cached, 224, augment))
        for augment in LARGE_SETS:
            for workers in (1, 2):
                row(
                    "224, decoded",
                    augment,
                    workers,
                    partial(decoding, spec, augment),
                )
    Path("input_speed.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
