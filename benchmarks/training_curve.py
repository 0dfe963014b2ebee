"""Draw the training curves of runs from their metrics: ``training_curve.py OUT.svg NAME=RUN_DIR ...``.

Needs matplotlib. Prints the test accuracies it drew.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

COLOURS = ("#1f6feb", "#d1242f", "#1a7f37", "#8250df")


def records(run_dir: Path) -> list[dict[str, Any]]:
    """The lines of metrics of a run."""
    text = (run_dir / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def main(output: str, *runs: str) -> None:
    """Write the figure: training accuracy and sparsity over epochs, test accuracy as dots."""
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(8, 6), height_ratios=(2, 1))
    for colour, run in zip(COLOURS, runs, strict=False):
        name, _, folder = run.partition("=")
        found = records(Path(folder))
        steps = [record for record in found if "event" not in record]
        tests = [record for record in found if record.get("event") == "epoch"]
        epochs = [record["epoch"] for record in steps]
        top.plot(epochs, [r["accuracy"] for r in steps], color=colour, label=f"{name}, training batches")
        top.plot(
            [r["epoch"] for r in tests],
            [r["test_accuracy"] for r in tests],
            "o",
            color=colour,
            label=f"{name}, test images",
        )
        bottom.plot(epochs, [100 * r["sparsity"] for r in steps], color=colour, label=name)
        sys.stdout.write(f"{name}: {[(r['epoch'], r['test_accuracy']) for r in tests]}\n")
    top.set_ylabel("top-1, %")
    bottom.set_ylabel("sparsity, %")
    bottom.set_xlabel("epoch")
    top.grid(alpha=0.3)
    bottom.grid(alpha=0.3)
    top.legend()
    figure.tight_layout()
    figure.savefig(output, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
