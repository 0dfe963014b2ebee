"""Kill a training again and again, resume it each time, and compare its end with an uninterrupted one's.

Each process of ``onnxcomp train`` gets SIGKILL at a random moment: while it starts, computes, writes a
checkpoint, measures or saves. The training uses everything that has a state: pruning, INT8, distillation,
AdamW, one-cycle, clipping, accumulation, averaged weights, augmentation. Where it ends before all kills
were given, it starts anew. Needs ``onnxcomp[train,demo]``. Prints a table and writes kills.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from onnxcomp import calibration, files, pipeline, recipe
from onnxcomp import model as models
from onnxcomp.data import open_data
from onnxcomp.models import build
from onnxcomp.preprocess import ensure_preprocessing

RECIPE = "prune{sparsity=0.8 frequency=5},qat,distill"
OPTIONS = (
    *("--optimizer", "adamw", "--lr", "0.002", "--schedule", "onecycle", "--clip", "1", "--ema", "0.99"),
    *("--accumulate", "2", "--batch-size", "16", "--label-smoothing", "0.1", "--workers", "2"),
    *("--augment", "crop,randaugment,cutout{size=2}", "--checkpoint-every", "2", "--threads", "1"),
)


@dataclass(frozen=True)
class Kill:
    """One of them.

    Attributes:
        after: seconds after the start of the process.
        steps: that its newest checkpoint had gained since the start.
        writing: it was in the middle of a file, which it left half-written.
    """

    after: float
    steps: int
    writing: bool

    @property
    def moment(self) -> str:
        if self.writing:
            return "writing a file"
        return "training" if self.steps else "starting, or before a checkpoint"


def prepare(folder: Path, network: str) -> Path:
    """The compression form of ``network`` for the digits."""
    data = open_data("digits")
    model = build(network, num_classes=len(data.classes), input_size=8)
    model.preprocessing = None
    ensure_preprocessing(model, data)
    images = calibration.from_data(model, data, images=64, threads=1)
    path = folder / "c.onnx"
    models.save(pipeline.apply(model, recipe.parse(RECIPE), calibration=images), path)
    train, test = (part.load(np.arange(len(part)), (8, 8)) for part in (data.train, data.test))
    labels = {"y_train": data.train.labels, "y_test": data.test.labels}
    np.savez(folder / "digits.npz", x_train=train, x_test=test, **labels)
    return path


def start(folder: Path, model: Path, epochs: float) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    command = [
        *(sys.executable, "-m", "onnxcomp.cli", "train", str(model), "-o", str(folder / "t.onnx")),
        *("--data", str(model.with_name("digits.npz")), "--run-dir", str(folder / "run")),
        *("--epochs", str(epochs), "--resume", *OPTIONS),
    ]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def newest(folder: Path) -> int:
    """Step of the newest checkpoint."""
    found = (folder / "run" / "checkpoints").glob("step-*.safetensors")
    return max((int(path.stem[5:]) for path in found), default=0)


def kill(folder: Path, model: Path, epochs: float, after: float) -> Kill | None:
    """Start or resume the training and kill it; None if it ended first."""
    before, old = newest(folder), parts(folder)
    process = start(folder, model, epochs)
    try:
        code = process.wait(after)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return Kill(after, newest(folder) - before, bool(parts(folder) - old))
    if code:
        raise RuntimeError((folder / "log").read_text())
    return None


def finish(folder: Path, model: Path, epochs: float) -> tuple[float, float]:
    """Let the training end; seconds until its first checkpoint, and in all."""
    begin, first = time.monotonic(), None
    process = start(folder, model, epochs)
    while process.poll() is None:
        if first is None and newest(folder):
            first = time.monotonic() - begin
        time.sleep(0.01)
    if process.returncode:
        raise RuntimeError((folder / "log").read_text())
    total = time.monotonic() - begin
    return first or total, total


def parts(folder: Path) -> set[Path]:
    """Files that a kill left half-written."""
    return {path for path in folder.rglob("*") if files.is_part(path.name)} if folder.is_dir() else set()


def differences(ours: Path, theirs: Path) -> list[str]:
    """What tells the end of a killed training from that of an uninterrupted one; empty for nothing."""
    found = [f"left {path.name}" for path in sorted(parts(ours))]
    if (ours / "t.onnx").read_bytes() != (theirs / "t.onnx").read_bytes():
        found.append("other bytes in the final file")
    if _metrics(ours) != _metrics(theirs):
        found.append("other metrics")
    return found


def _metrics(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "images_per_second"} for line in lines]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--network", default="densenet-bc-40-12")
    parser.add_argument("--epochs", type=float, default=24)
    parser.add_argument("--seed", type=int, default=None, help="of the moments; default: a new one")
    parser.add_argument("--output", type=Path, default=Path("kills.json"))
    given = parser.parse_args()
    seed = np.random.SeedSequence(given.seed).entropy
    chance = np.random.default_rng(seed)
    kills: list[Kill] = []
    ends: list[list[str]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = prepare(folder, given.network)
        first, total = finish(folder / "whole", model, given.epochs)
        # On average a process gets less done than its share, so that one training takes all kills.
        window = first + 2 * (total - first) / given.kills
        while len(kills) < given.kills:
            cut = folder / f"cut{len(ends)}"
            while len(kills) < given.kills:
                found = kill(cut, model, given.epochs, chance.uniform(0, window))
                if found is None:
                    break
                kills.append(found)
                sys.stderr.write(f"\r{len(kills)} kills, at step {newest(cut)} ")
            finish(cut, model, given.epochs)
            ends.append(differences(cut, folder / "whole"))
        steps = newest(folder / "whole")
    report(kills, ends, steps, total)
    content = {
        "network": given.network,
        "recipe": RECIPE,
        "options": " ".join(OPTIONS),
        "epochs": given.epochs,
        "steps": steps,
        "seconds_uninterrupted": total,
        "seed": str(seed),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors",
        "trainings": len(ends),
        "differences": ends,
        "kills": [asdict(one) for one in kills],
    }
    files.write_atomically(given.output, lambda path: _write(path, json.dumps(content, indent=2)))
    return 1 if any(ends) else 0


def _write(path: Path, text: str) -> None:
    path.write_text(text + "\n", encoding="utf-8")


def report(kills: list[Kill], ends: list[list[str]], steps: int, total: float) -> None:
    moments = Counter(one.moment for one in kills)
    rows = [
        ("steps of a training, uninterrupted", f"{steps} in {total:.0f} s"),
        ("kills", str(len(kills))),
        *((f"  while {moment}", str(count)) for moment, count in sorted(moments.items())),
        ("trainings that they were spread over", str(len(ends))),
        ("of these ended with the same bytes and metrics", str(sum(not end for end in ends))),
        *((f"  one {difference}", "") for end in ends for difference in end),
    ]
    sys.stdout.write("\n".join(["", *(f"{name:<48}{value:>16}" for name, value in rows), ""]))


if __name__ == "__main__":
    sys.exit(main())
