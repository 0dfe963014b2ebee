"""A small student with a tenth of the training images, taught in several ways, by the command line.

``distillation.py STUDENT TEACHER DATA OUT_DIR [--methods 0,1] [--seeds 0,1,2] [--epochs 40] ...`` trains a
network of ``onnxcomp export`` from random weights: plain, and with each way of distilling; every run has the
same images, steps, learning rate and batches. It prints the mean and deviation of the test accuracy over the
seeds, which are those of the weights and of the order of the images. Runs that OUT_DIR has are not run again,
interrupted ones are continued. No augmentation, so the teacher is run once and its outputs are cached.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from onnxcomp.data import open_data

KD = '{"losses":{"task":0.1,"soft_targets":0.9}}'


def stages(first: str, last: str) -> str:
    """Two fifths of the steps with the loss ``first``, then ``last``."""
    return f'distill{{stages=[{{"losses":{{"{first}":1}},"steps":0.4}},{last}]}}'


METHODS = {
    "plain": "",
    "soft targets (KD)": "distill{alpha=0.9 boundary=0}",
    "attention transfer": "distill{alpha=0 boundary=0 attention=30}",
    "relational (RKD)": "distill{alpha=0 boundary=0 relations=25}",
    "decoupled (DKD)": "distill{alpha=0 boundary=0 decoupled=1}",
    "hints, then labels": stages("hints", '{"losses":{"task":1}}'),
    "hints, then KD (FitNets)": stages("hints", KD),
    "AB, then labels": stages("boundary", '{"losses":{"task":1}}'),
    "AB, then KD": stages("boundary", KD),
}


def tenth(data: str, path: Path) -> None:
    """Every tenth training image of each class, and all test images."""
    if path.exists():
        return
    found = open_data(data)
    labels, size = found.train.labels, (32, 32)
    some = np.sort(np.concatenate([np.flatnonzero(labels == c)[::10] for c in range(len(found.classes))]))
    np.savez(
        path,
        x_train=found.train.load(some, size),
        y_train=labels[some],
        x_test=found.test.load(np.arange(len(found.test)), size),
        y_test=found.test.labels,
        classes=np.array(found.classes),
    )


def onnxcomp(*words: object) -> dict[str, Any]:
    """Run a command; its JSON."""
    command = [sys.executable, "-m", "onnxcomp.cli", *map(str, words)]
    done = subprocess.run([*command, "--json"], check=True, capture_output=True, text=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def run(method: str, seed: int, given: argparse.Namespace) -> float:
    """Test accuracy in percent of one training."""
    folder = (
        given.out / method.replace(" ", "_").replace(",", "").replace("(", "").replace(")", "") / str(seed)
    )
    result = folder / "result.json"
    if result.exists():
        return float(json.loads(result.read_text(encoding="utf-8"))["test_accuracy"])
    folder.mkdir(parents=True, exist_ok=True)
    student, prepared = folder / "student.onnx", folder / "compression.onnx"
    shape = ("--num-classes", 10, "--input-size", 32, "--stem", "imagenet")
    onnxcomp("export", given.student, "-o", student, *shape, "--seed", seed, "--preprocess", given.preprocess)
    if METHODS[method]:
        onnxcomp("apply", METHODS[method], student, "-o", prepared, "--teacher", given.teacher)
    answer = onnxcomp(
        "train", prepared if METHODS[method] else student, "-o", folder / "trained.onnx",
        "--data", given.out / "tenth.npz", "--run-dir", folder / "run", "--resume", "--threads", 1,
        "--epochs", given.epochs, "--batch-size", 64, "--lr", given.lr, "--weight-decay", 5e-4,
        "--no-augment", "--evaluate-every", 10, "--seed", seed,
    )  # fmt: skip
    result.write_text(json.dumps({"recipe": METHODS[method], **answer}, indent=2) + "\n", encoding="utf-8")
    return float(answer["test_accuracy"])


def table(found: dict[str, list[float]]) -> str:
    """Mean, deviation and every seed, best first."""
    lines = [f"{'method':26} {'mean':>6} {'dev.':>5}  seeds"]
    for method, values in sorted(found.items(), key=lambda item: -statistics.mean(item[1])):
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        each = "  ".join(f"{value:.2f}" for value in values)
        lines.append(f"{method:26} {statistics.mean(values):6.2f} {deviation:5.2f}  {each}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("student")
    parser.add_argument("teacher", type=Path)
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--methods", default=",".join(f"{index}" for index in range(len(METHODS))))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--epochs", type=float, default=40)
    parser.add_argument("--lr", type=float, default=0.2)
    parser.add_argument("--preprocess", default="cifar10")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    tenth(given.data, given.out / "tenth.npz")
    names = [[*METHODS][int(index)] for index in given.methods.split(",")]
    found: dict[str, list[float]] = {name: [] for name in names}
    for seed in map(int, given.seeds.split(",")):
        for name in names:
            found[name].append(run(name, seed, given))
            sys.stdout.write(f"seed {seed}, {name}: {found[name][-1]:.2f} %\n")
            sys.stdout.flush()
    (given.out / "distillation.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(table(found) + "\n")


if __name__ == "__main__":
    main()
