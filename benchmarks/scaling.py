"""How data-parallel training scales over local MPI ranks: ``scaling.py --help``.

Each rank takes the steps of ``onnxcomp train`` (engine, averaged gradients, optimiser; one thread, images
that are in memory already). Once with the images of a rank fixed, once with those of a step fixed. Runs
with 1, 2, ... ranks take turns, so a slow moment of the machine falls on all of them. Efficiency is images
a second over those of one rank times the number of ranks, or times the cores where these are fewer. On a
busy machine that says little: more ranks get more of its cores. ``by CPU`` is the CPU time of an image with
one rank over that with more; it leaves out waiting for the slowest.

Needs ``onnxcomp[train,mpi]`` and mpirun. Prints a table and writes scaling.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from onnxcomp.training.ranks import Array, Ranks, open_ranks

# Open MPI wants to be asked before it takes root or more ranks than cores; others do not look at these.
OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
SIZE, CLASSES, WARM_UP = 32, 10, 3
WAYS = {"rank": "images of a rank fixed", "step": "images of a step fixed"}


class Timed:
    """Ranks that time their averages: waiting for the slowest, and the exchange itself."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ranks, name)

    def average(self, arrays: Iterable[Array]) -> None:
        live = list(arrays)
        self._ranks.any(False)  # the slowest has arrived: what follows is the exchange
        start = time.perf_counter()
        self._ranks.average(live)
        self.seconds += time.perf_counter() - start


def work(model_path: Path, batch: int, steps: int) -> None:
    """One rank: take the steps, and on rank 0 print one line of JSON."""
    from onnxcomp import model as models
    from onnxcomp.training import engine
    from onnxcomp.training.config import TrainConfig
    from onnxcomp.training.trainer import Trainer

    ranks = Timed(open_ranks())
    model = models.load(model_path)
    config = TrainConfig(epochs=1, batch_size=batch, lr=1e-3, threads=1)
    trainer = Trainer(
        engine.build(model, batch_size=batch, threads=1, projected=True), model, config, 10**9, ranks
    )
    rng = np.random.default_rng(ranks.rank)
    images = rng.standard_normal((batch, 3, SIZE, SIZE), np.float32)
    labels = rng.integers(0, CLASSES, batch)
    for step in range(WARM_UP):
        trainer.step(step, [(images, labels)])
    ranks.any(False)
    ranks.seconds, start, busy = 0.0, time.perf_counter(), time.process_time()
    for step in range(WARM_UP, WARM_UP + steps):
        trainer.step(step, [(images, labels)])
    ranks.any(False)
    wall = time.perf_counter() - start
    used = np.array([time.process_time() - busy, ranks.seconds])
    ranks.average([used])
    if ranks.rank == 0:
        done = steps * batch * ranks.size
        line = {
            "images_per_second": done / wall,
            "cpu_ms_per_image": 1e3 * used[0] * ranks.size / done,
            "exchange_ms": 1e3 * used[1] / steps,
            "step_ms": 1e3 * wall / steps,
        }
        sys.stdout.write(json.dumps(line) + "\n")


def measure(options: argparse.Namespace, model: Path, ranks: int, batch: int) -> dict[str, float]:
    """One run with ``ranks`` processes of ``batch`` images."""
    here = Path(sys.executable).with_name("mpirun")
    mpirun = str(here) if here.exists() else shutil.which("mpirun") or "mpirun"
    launch = [mpirun, "-n", str(ranks)] if ranks > 1 else []
    command = [*launch, sys.executable, __file__, "--work", str(model), str(batch), str(options.steps)]
    environment = {**os.environ, **OPEN_MPI, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(launch)}: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run(options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """All rows: way, ranks, batch, and for each figure its values over the rounds."""
    from onnxcomp import model as models
    from onnxcomp import pipeline
    from onnxcomp.models import build

    path = folder / "model.onnx"
    network = build(options.network, num_classes=CLASSES, input_size=SIZE)
    models.save(pipeline.with_task_loss(network), path)
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for round_ in range(options.rounds):
        for ranks in options.ranks if round_ % 2 == 0 else options.ranks[::-1]:
            measured: dict[int, dict[str, float]] = {}
            for way in WAYS:
                batch = options.batch if way == "rank" else options.batch // ranks
                if batch not in measured:
                    measured[batch] = measure(options, path, ranks, batch)
                row = rows.setdefault((way, ranks), {"way": way, "ranks": ranks, "batch": batch})
                for name, value in measured[batch].items():
                    row.setdefault(name, []).append(value)
    return [rows[way, ranks] for way in WAYS for ranks in options.ranks]


def table(rows: list[dict[str, Any]], cores: int) -> Iterable[str]:
    for way, title in WAYS.items():
        yield f"\n{title}\n"
        yield "ranks  batch  images/s (min-max)      efficiency  step ms  exchange ms  CPU ms/image  by CPU\n"
        chosen = [row for row in rows if row["way"] == way]
        alone = median(chosen[0]["images_per_second"]) / chosen[0]["ranks"]
        least = median(chosen[0]["cpu_ms_per_image"])
        for row in chosen:
            speeds = row["images_per_second"]
            share = median(speeds) / alone / min(row["ranks"], cores)
            span = f"{median(speeds):8.1f} ({min(speeds):.1f}-{max(speeds):.1f})"
            step, exchange = median(row["step_ms"]), median(row["exchange_ms"])
            used = median(row["cpu_ms_per_image"])
            yield f"{row['ranks']:5}  {row['batch']:5}  {span:23} {share:10.0%}  {step:7.0f}"
            yield f"  {exchange:11.1f}  {used:12.2f}  {least / used:6.0%}\n"


def main() -> None:
    if sys.argv[1:2] == ["--work"]:
        work(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="densenet-bc-40-12", help="a name that onnxcomp export takes")
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--batch", type=int, default=64, help="images of a rank, or of a step")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("scaling.json"))
    options = parser.parse_args()
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        rows = run(options, Path(folder))
    sys.stdout.write(f"{options.network}, one thread a rank, {cores} cores, load at the start {load:.1f}\n")
    sys.stdout.writelines(table(rows, cores))
    if max(options.ranks) > cores:
        sys.stdout.write(
            f"\nMore than {cores} ranks share the cores: nothing is to be gained by them here.\n"
        )
    machine = {"cores": cores, "platform": platform.platform(), "load_at_start": load}
    report = {"network": options.network, "steps": options.steps, "machine": machine, "rows": rows}
    options.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
