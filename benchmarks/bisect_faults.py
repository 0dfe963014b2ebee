"""Does ``onnxcomp bisect`` find planted faults, and how fast: ``bisect_faults.py NETWORK DATA OUT_DIR``.

NETWORK, in float32, is quantised for the Xavier and with one scale for every Concat for ONNX Runtime; then
one fault at a time is planted, at two places each: a weight dequantised by four times its scales, a tensor
quantised for a Concat by a third of the shared scale, two output channels of a weight swapped. Prints a table
in Markdown and writes bisect_faults.json into OUT_DIR.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

Plant = Callable[["Net"], str]
COLUMNS = ("fault", "planted in", "named", "top-1", "brings back", "seconds")


def onnxcomp(*words: object) -> str:
    """Run a command; what it prints."""
    command = [sys.executable, "-m", "onnxcomp.cli", *map(str, words)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def int8(given: argparse.Namespace, name: str, target: str, *settings: str) -> Path:
    path: Path = given.out / f"{name}.onnx"
    if not path.exists():
        words = ("--deployable", path, "--target", target, "--data", given.data, *settings)
        onnxcomp("apply", "qat", given.network, "--calibration-images", 256, *words)
    return path


class Net:
    """A file to plant a fault in."""

    def __init__(self, path: Path) -> None:
        self.proto = onnx.load(path)
        self.nodes = list(self.proto.graph.node)
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.arrays = {array.name: array for array in self.proto.graph.initializer}

    def change(self, node: onnx.NodeProto, index: int, values: np.ndarray) -> None:
        """Let one node alone read other values there."""
        name = f"{node.input[index]}.changed"
        self.proto.graph.initializer.append(numpy_helper.from_array(values, name))
        node.input[index] = name

    def values(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self.arrays[name])

    def quantised(self) -> list[onnx.NodeProto]:
        convolutions = [node for node in self.nodes if node.op_type == "Conv"]
        return [node for node in convolutions if node.input[1] in self.makers]


def scale_off(place: float) -> Plant:
    def plant(net: Net) -> str:
        found = net.quantised()
        node = found[int(place * len(found))]
        dequantize = net.makers[node.input[1]]
        net.change(dequantize, 1, 4 * net.values(dequantize.input[1]))
        return str(node.name)

    return plant


def own_scale(place: float) -> Plant:
    def plant(net: Net) -> str:
        concats = [node for node in net.nodes if node.op_type == "Concat"]
        node = concats[int(place * len(concats))]
        makers = (net.makers[name] for name in node.input)
        quantize = next(maker for maker in makers if maker.op_type == "QuantizeLinear")
        net.change(quantize, 1, np.asarray(net.values(quantize.input[1]) / 3, np.float32))
        return str(node.name)

    return plant


def swapped(place: float) -> Plant:
    def plant(net: Net) -> str:
        found = net.quantised()
        node = found[int(place * len(found))]
        maker = node
        while maker.input[maker.op_type == "Conv"] in net.makers:
            maker = net.makers[maker.input[maker.op_type == "Conv"]]
        index = int(maker.op_type == "Conv")
        values = net.values(maker.input[index]).copy()
        values[[3, 17]] = values[[17, 3]]
        net.change(maker, index, values)
        return str(node.name)

    return plant


def measured(given: argparse.Namespace, what: str, path: Path, plant: Plant) -> dict[str, Any]:
    net = Net(path)
    node = plant(net)
    broken = given.out / "broken.onnx"
    onnx.save(net.proto, broken)
    start = time.monotonic()
    words = ("--data", given.data, "--threads", given.threads, "--json")
    found = json.loads(onnxcomp("bisect", given.network, broken, *words))
    seconds = time.monotonic() - start
    broken.unlink()
    return {"fault": what, "planted": node, "seconds": seconds, **found}


def row(found: dict[str, Any]) -> str:
    outliers = ", ".join(one["node"] for one in found["outliers"]) or "-"
    tops = (found[name]["top1"] for name in ("reference", "candidate", "corrected"))
    cells = (
        found["fault"],
        found["planted"],
        outliers,
        " / ".join(f"{top:.2f}" for top in tops),
        f"{found['recovered_by_outliers']:.0f} %",
        f"{found['seconds']:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("network", type=Path)
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    xavier = int8(given, "xavier", "xavier")
    shared = int8(given, "shared", "ort-cpu", "--set", "qat.concat=shared")
    cases = [
        ("one weight's scales times 4, early", xavier, scale_off(0.2)),
        ("one weight's scales times 4, in the middle", xavier, scale_off(0.5)),
        ("one Concat scale not shared, early", shared, own_scale(0.1)),
        ("one Concat scale not shared, in the middle", shared, own_scale(0.25)),
        ("two channels swapped, first layer", xavier, swapped(0)),
        ("two channels swapped, in the middle", xavier, swapped(0.4)),
        ("none", xavier, lambda net: "-"),
    ]
    found = []
    sys.stdout.write(f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n")
    for what, path, plant in cases:
        found.append(measured(given, what, path, plant))
        sys.stdout.write(f"{row(found[-1])}\n")
        sys.stdout.flush()
    (given.out / "bisect_faults.json").write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
