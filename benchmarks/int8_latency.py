"""INT8 on this CPU: ``int8_latency.py FLOAT.onnx [OTHER.onnx...] [--data DATA] [--batches 1,16]``.

With ``--data``, FLOAT is quantised after training for ONNX Runtime on a CPU (`qat`, then `finalize --target
ort-cpu`, 512 training images) and called ``onnxcomp``. That, FLOAT and OTHER files (of other tools, from the
same network) run as they are, in turns: in each round every file runs a few times after one run that is not
timed, so that all meet the same machine and none the caches of another. Prints minimum, median and maximum of
the milliseconds of one run and of how many times faster than FLOAT it is, round by round, and the operators
that ONNX Runtime runs; writes all rounds as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx

from onnxcomp import extras
from onnxcomp.runtime import EXACT


@dataclass
class Candidate:
    """A file and what was measured.

    Attributes:
        name: how the table calls it.
        bytes: size of the file.
        operators: how often ONNX Runtime runs each, after its optimisations.
        milliseconds: of one run, by batch and round.
    """

    name: str
    bytes: int
    operators: dict[str, int]
    session: Any = field(repr=False)
    milliseconds: dict[int, list[float]] = field(default_factory=dict)

    def table(self) -> dict[str, Any]:
        """What JSON takes."""
        return {key: value for key, value in vars(self).items() if key != "session"}


def quantized(path: Path, data: str, output: Path) -> None:
    """Write the deployable INT8 form of ``path`` for ONNX Runtime on a CPU."""
    from onnxcomp import model as models
    from onnxcomp import pipeline, recipe, sources
    from onnxcomp.commands.options import fit_to_data
    from onnxcomp.data import open_data
    from onnxcomp.deploy.finalize import finalize_report
    from onnxcomp.deploy.targets import get_target

    target = get_target("ort-cpu")
    model, images = models.load(path), open_data(data)
    fit_to_data(model, images, path)
    seen = sources.from_data(model, images, images=512, threads=1).calibration
    compressed = pipeline.apply(model, recipe.parse("qat"), calibration=seen, placement=target.placement)
    deployable, report = finalize_report(compressed, target)
    models.save(deployable, output)
    sys.stdout.write("\n".join([*report.lines(), ""]))


def candidate(name: str, path: Path, folder: Path, threads: int) -> Candidate:
    runtime, optimized = extras.onnxruntime(), folder / "optimized.onnx"
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry(*EXACT)
    options.log_severity_level = 4
    options.optimized_model_filepath = str(optimized)
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    operators = Counter(node.op_type for node in onnx.load(optimized, load_external_data=False).graph.node)
    return Candidate(name, path.stat().st_size, dict(operators.most_common()), session)


def measure(candidates: list[Candidate], batch: int, rounds: int, seconds: float) -> None:
    """Let all run in turns."""
    feeds = []
    for one in candidates:
        image = one.session.get_inputs()[0]
        shape = (batch, *image.shape[1:])
        feeds.append({image.name: np.random.default_rng(0).standard_normal(shape, np.float32)})
        one.milliseconds[batch] = []
    for turn in range(rounds + 1):
        for one, feed in zip(candidates, feeds, strict=True):
            one.session.run(None, feed)
            count, start = 0, time.process_time()
            while (spent := time.process_time() - start) < seconds or not count:
                one.session.run(None, feed)
                count += 1
            if turn:  # the first one allocates
                one.milliseconds[batch].append(1e3 * spent / count)


def three(values: list[float]) -> str:
    return f"{min(values):7.2f} {median(values):7.2f} {max(values):7.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--data", help="quantise the first file with images of it")
    parser.add_argument("--batches", default="1,16")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.03, help="of each file in each round, at least")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, default=Path("int8_latency.json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = {str(path): path for path in options.paths}
        if options.data:
            files["onnxcomp"] = folder / "onnxcomp.onnx"
            quantized(options.paths[0], options.data, files["onnxcomp"])
        candidates = [candidate(name, path, folder, options.threads) for name, path in files.items()]
    version = extras.onnxruntime().__version__
    sys.stdout.write(f"onnxruntime {version}, {options.threads} threads\n")
    for one in candidates:
        most = ", ".join(f"{count} {op}" for op, count in list(one.operators.items())[:8])
        sys.stdout.write(f"{one.name}: {one.bytes:,} bytes; {most}\n")
    for batch in map(int, options.batches.split(",")):
        measure(candidates, batch, options.rounds, options.seconds)
        first = candidates[0].milliseconds[batch]
        for one in candidates:
            own = one.milliseconds[batch]
            ratios = [base / value for base, value in zip(first, own, strict=True)]
            sys.stdout.write(f"batch {batch:3}  {three(own)} ms  {three(ratios)} x  {one.name}\n")
    files_found = [one.table() for one in candidates]
    found = {"onnxruntime": version, "threads": options.threads, "files": files_found}
    options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
