"""What compression would bring on devices that are not at hand: ``estimates.py NETWORK DATA OUT_DIR``.

The float32 network, INT8, INT8 with 2:4 zeros and INT8 with half of the weights removed as whole channels,
each finalized for each target and estimated by ``onnxcomp estimate``: no figure is measured. Prints a table
in Markdown and writes estimates.json into OUT_DIR. Weights are not solved anew: only shapes and zeros count.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

FORMS = {
    "float32": "",
    "INT8": "qat",
    "INT8, 2:4 zeros": "prune{pattern=2:4 schedule=one-shot begin=0},qat",
    "INT8, half the channels": "channels{sparsity=0.5 reconstruct=false},qat",
}


def onnxcomp(*words: object) -> str:
    """Run a command; what it prints."""
    command = [sys.executable, "-m", "onnxcomp.cli", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def deployable(passes: str, target: str, given: argparse.Namespace, path: Path) -> None:
    """The network in one form, finalized for a target; made once."""
    if path.exists():
        return
    if not passes:
        onnxcomp("finalize", given.network, "-o", path, "--target", target)
        return
    words = (
        "--deployable",
        path,
        "--target",
        target,
        "--data",
        given.data,
        "--calibration-images",
        given.images,
    )
    onnxcomp("apply", passes, given.network, *words)


def estimated(path: Path, target: str, batch: int, *, fp16: bool) -> dict[str, Any]:
    words = ["--target", target, "--batch", batch, "--json", *([] if fp16 else ["--no-fp16"])]
    found: dict[str, Any] = json.loads(onnxcomp("estimate", path, *words))
    layers = [layer for layer in found["layers"] if layer["us"]]
    shares = {
        kind: sum(each["share"] for each in layers if each["bound"] == kind)
        for kind in ("arithmetic", "memory", "launch")
    }
    return {"ms": found["us"] / 1000, "int8": found["int8"], "layers": len(layers), **shares}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", type=Path)
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--targets", nargs="+", default=["xavier", "orin", "h200"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64])
    parser.add_argument("--images", type=int, default=128, help="to calibrate on")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    results = []
    lines = [
        "| target | form | batch | ms, estimate | of float32 | arithmetic / memory / launch |",
        "|---|---|---|---|---|---|",
    ]
    for target in given.targets:
        first: dict[int, float] = {}
        for form, passes in FORMS.items():
            path = given.out / f"{target}-{list(FORMS).index(form)}.onnx"
            deployable(passes, target, given, path)
            for batch in given.batches:
                found = estimated(path, target, batch, fp16=form != "float32")
                base = first.setdefault(batch, found["ms"])
                results.append({"target": target, "form": form, "batch": batch, **found})
                shares = " / ".join(
                    f"{100 * found[kind]:.0f} %" for kind in ("arithmetic", "memory", "launch")
                )
                cells = (target, form, batch, f"{found['ms']:.2f}", f"{found['ms'] / base:.2f}", shares)
                lines.append(f"| {' | '.join(map(str, cells))} |")
    (given.out / "estimates.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
