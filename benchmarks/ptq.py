"""Post-training quantisation side by side: ``ptq.py WORK_DIR --data DATA NETWORK.onnx...``.

Quantises each network with onnxcomp and with every other ONNX quantizer that installs without CUDA, at the
settings of ptq_settings.py, on the same 512 evenly spaced training images, each tool in an environment of
its own (WORK_DIR/env-NAME, made by pip where it is not there). All files are measured by one program in one
ONNX Runtime (ptq_measure.py): top-1 and SQNR of the logits against the float network on all test images,
and latency in turns with the float network. Quantising runs on one core, its CPU seconds and highest
memory are the process's own, from file to file. A tool that cannot be installed or does not finish has a
row with the reason.

WORK_DIR/results/NETWORK/ROW.json keeps what was measured; a row is run again where it, the network or the
setting changed, or with --again all. Prints a table per network and writes WORK_DIR/ptq.json and ptq.md.
"""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ptq_settings import ENVIRONMENTS, ROWS, Row

from onnxcomp import calibration
from onnxcomp import model as models
from onnxcomp.data import evaluation_batches, open_data
from onnxcomp.deploy.lint import lint
from onnxcomp.deploy.targets import get_target

HERE = Path(__file__).parent
IMAGES = 512
SECONDS = 300
"""CPU seconds that quantising may take, and a third of the wall seconds."""
FLOAT = Row("float32", "", "")


class FailedError(Exception):
    """A row without a result; says why in one line."""


@dataclass(frozen=True)
class Bench:
    """Where things are."""

    work: Path
    data: str
    python: str
    memory: float

    def environment(self, name: str) -> str:
        """The Python of an environment, which is made where it is not there or its pins changed."""
        if not name:
            return sys.executable
        folder = self.work / f"env-{name}"
        python, made = folder / "bin" / "python", folder / "requirements.txt"
        wanted = "\n".join(ENVIRONMENTS[name]) + "\n"
        if made.exists() and made.read_text(encoding="utf-8") == wanted:
            return str(python)
        shutil.rmtree(folder, ignore_errors=True)
        with (self.work / f"env-{name}.log").open("w", encoding="utf-8") as log:
            for command in (
                [self.python, "-m", "venv", str(folder)],
                [str(python), "-m", "pip", "install", "--no-cache-dir", *ENVIRONMENTS[name]],
            ):
                if subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode:
                    raise FailedError(f"does not install: {last_line(Path(log.name))}")
        made.write_text(wanted, encoding="utf-8")
        return str(python)

    def arrays(self, network: Path) -> Path:
        """The folder with calib.npy, test.npy and test_y.npy as the network takes them.

        Also calib.npz, the data set that onnxcomp reads: the images of calib.npy before preprocessing.
        """
        model = models.load(network)
        key = hashlib.sha256(repr((self.data, model.preprocessing, model.image_shape)).encode()).hexdigest()
        folder = self.work / f"arrays-{key[:8]}"
        if not (folder / "calib.npz").exists():
            folder.mkdir(exist_ok=True)
            data = open_data(self.data)
            assert model.preprocessing is not None
            channels, *size = model.image_shape
            batches = list(
                evaluation_batches(
                    data.test, (size[0], size[1]), model.preprocessing, channels, batch_size=500, workers=0
                )
            )
            np.save(folder / "test.npy", np.concatenate([images for images, _ in batches]))
            np.save(folder / "test_y.npy", np.concatenate([labels for _, labels in batches]))
            chosen = calibration.from_data(model, data, images=IMAGES, threads=1)
            np.save(folder / "calib.npy", np.concatenate(list(chosen.batches())))
            indices = calibration.chosen_images(data.train, IMAGES, 1)
            images, labels = data.train.load(indices, (size[0], size[1])), data.train.labels[indices]
            few = {"x_test": images[:1], "y_test": labels[:1], "classes": np.array(data.train.classes)}
            np.savez(folder / "calib.npz", x_train=images, y_train=labels, **few)
        return folder


def last_line(log: Path) -> str:
    """The line of a log that says most: the last one that names an error, or else the last."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    lines = [line for line in lines if line]
    errors = [line for line in lines if "Error" in line or "error:" in line.lower()]
    errors = [line for line in errors if not line.startswith(("File ", "raise "))] or errors
    return " ".join((errors or lines or ["says nothing"])[-1].split())[:160]


def limits() -> None:
    """In the child: one core, so that all have one thread and none spins, and a limit of CPU seconds."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))


def child(python: str, script: str, job: Path, log: Path, bench: Bench) -> dict[str, float]:
    """Run a script in a process of its own; its CPU seconds and highest memory (MiB), children included.

    Raises:
        FailedError: it did not end well, or took too long or too much memory.
    """
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            [python, str(HERE / script), str(job)],
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            cwd=job.parent,
            env={**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"},
            preexec_fn=limits if script == "ptq_worker.py" else None,
        )
        start, why, status, usage = time.monotonic(), "", 0, None
        while usage is None:
            found, status, used = os.wait4(process.pid, os.WNOHANG)
            if found:
                usage = used
            elif time.monotonic() - start > 3 * SECONDS:
                why = f"not ready after {3 * SECONDS} s"
                process.kill()
            elif resident(process.pid) > bench.memory:
                why = f"more than {bench.memory:g} GiB of memory"
                process.kill()
            time.sleep(0.1)
        process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    if process.returncode:
        if not why:
            why = f"not ready after {SECONDS} CPU s" if cpu >= SECONDS else last_line(log)
        raise FailedError(why)
    return {"cpu": cpu, "memory": usage.ru_maxrss / 1024}


def resident(process: int) -> float:
    """Memory of a process, in GiB; 0 once it is gone."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * resource.getpagesize() / 2**30


def measure(bench: Bench, row: Row, network: Path, folder: Path) -> dict[str, Any]:
    """Quantise and measure; keeps the quantised file in ``folder``."""
    if row.left_out:
        raise FailedError(row.left_out)
    arrays = bench.arrays(network)
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    result: dict[str, Any] = {}
    quantized = network
    if row is not FLOAT:
        quantized = scratch / "quantized.onnx"
        job = {
            "tool": row.tool,
            "settings": row.settings,
            "model": str(network.resolve()),
            "output": str(quantized),
            "calibration": str(arrays / "calib.npy"),
            "images": IMAGES,
            "data": str(arrays / "calib.npz"),
            "stats": str(scratch / "stats.json"),
        }
        python = bench.environment(row.environment)
        used = child(python, "ptq_worker.py", write(scratch / "job.json", job), scratch / "log.txt", bench)
        result = {**json.loads((scratch / "stats.json").read_text(encoding="utf-8")), "used": used}
    result.update(measured(bench, network, quantized, scratch, ("accuracy", "latency")))
    result["bytes"] = size(quantized)
    result["lint"] = linted(quantized)
    return result


def measured(
    bench: Bench, network: Path, quantized: Path, scratch: Path, parts: tuple[str, ...]
) -> dict[str, Any]:
    """What ptq_measure.py says of a file.

    Raises:
        FailedError: ONNX Runtime does not run it.
    """
    arrays = bench.arrays(network)
    job = {
        "parts": parts,
        "float": str(network.resolve()),
        "quantized": str(quantized.resolve()),
        "images": str(arrays / "test.npy"),
        "labels": str(arrays / "test_y.npy"),
        "reference": str(bench.work / "results" / f"{digest(network)[:12]}.npy"),
        "result": str(scratch / "measured.json"),
    }
    log = scratch / "measure.txt"
    try:
        child(bench.environment("ort"), "ptq_measure.py", write(scratch / "measure.json", job), log, bench)
    except FailedError as error:
        raise FailedError(f"ONNX Runtime does not run its file: {error}") from error
    found: dict[str, Any] = json.loads((scratch / "measured.json").read_text(encoding="utf-8"))
    return found


def linted(path: Path) -> dict[str, Any]:
    """What TensorRT 8.5 on Xavier would refuse or run in float, as ``onnxcomp lint`` says."""
    report = lint(path, get_target("xavier"), run=False)
    groups: dict[str, dict[str, int]] = {"error": {}, "warning": {}}
    for group in report.groups():
        found = groups[group.severity]
        found[group.rule] = found.get(group.rule, 0) + max(1, len(group.nodes))
    where = None if report.int8 is None else [report.int8.integer, report.int8.total]
    return {"errors": groups["error"], "warnings": groups["warning"], "int8": where}


def size(path: Path) -> int:
    """Of an ONNX file with what it keeps outside."""
    beside = (path.with_name(path.name + ending) for ending in (".data", "_data"))
    return path.stat().st_size + sum(other.stat().st_size for other in beside if other.exists())


def write(path: Path, job: dict[str, Any]) -> Path:
    path.write_text(json.dumps(job), encoding="utf-8")
    return path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def outcome(bench: Bench, row: Row, network: Path, wanted: bool, again: str) -> dict[str, Any]:
    """What is kept of a row, or else, where it is wanted, measured and kept; empty without either."""
    folder = bench.work / "results" / network.stem / row.name.replace("/", "-").replace(" ", "_")
    kept = folder.parent / f"{folder.name}.json"
    found = read(kept, row, network)
    quantized = network if row is FLOAT else folder / "scratch" / "quantized.onnx"
    if again == "latency" and "latency" in found:
        found.update(measured(bench, network, quantized, folder / "scratch", ("latency",)))
    elif again == "lint" and "latency" in found:
        found["lint"] = linted(quantized)
    elif again == "all" or (wanted and not found and not again):
        sys.stderr.write(f"{network.stem}: {row.name}\n")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            found = measure(bench, row, network, folder)
        except FailedError as error:
            found = {"failed": str(error)}
    else:
        return found
    kept.write_text(json.dumps({**found, "key": key(row, network)}, indent=1) + "\n", encoding="utf-8")
    return found


def read(kept: Path, row: Row, network: Path) -> dict[str, Any]:
    """What is kept of this row with these settings; empty where there is nothing."""
    if not kept.exists():
        return {}
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return found if found["key"] == key(row, network) else {}


def key(row: Row, network: Path) -> Any:
    """What a result depends on, as JSON gives it back."""
    pins = ENVIRONMENTS.get(row.environment, ())
    return json.loads(json.dumps({"row": asdict(row), "network": digest(network), "pins": pins}))


HEADER = (
    "settings",
    "top-1 %",
    "SQNR dB",
    "same label %",
    "CPU s",
    "without imports",
    "wall s",
    "MiB",
    "file MB",
    "latency, batch 1",
    "latency, batch 16",
    "TensorRT 8.5",
)


def rules(found: dict[str, Any]) -> str:
    """Layers in INT8, and the errors and warnings of each rule."""
    lines = [
        f"{kind}: " + ", ".join(f"{rule} {count}" for rule, count in found[kind].items())
        for kind in ("errors", "warnings")
        if found[kind]
    ]
    if found["int8"]:
        lines.append("INT8: {} of {} layers".format(*found["int8"]))
    return "; ".join(lines if found["errors"] else ["no error", *lines])


def cells(name: str, found: dict[str, Any]) -> list[str]:
    if "failed" in found:
        return [name, found["failed"], *[""] * (len(HEADER) - 2)]
    accuracy, cost = found["accuracy"], [""] * 4
    if "used" in found:
        work = found["done"]["cpu"] - found["imported"]["cpu"]
        cost = [
            f"{found['used']['cpu']:.1f}",
            f"{work:.1f}",
            f"{found['done']['wall']:.1f}",
            f"{found['used']['memory']:.0f}",
        ]
    ratios = ("{:.2f} {:.2f} {:.2f}".format(*found["latency"][batch]["ratio"]) for batch in ("1", "16"))
    return [
        name,
        f"{accuracy['top1']:.2f}",
        f"{accuracy['sqnr']:.1f}",
        f"{accuracy['agreement']:.1f}",
        *cost,
        f"{found['bytes'] / 1e6:.1f}",
        *ratios,
        "" if name == FLOAT.name else rules(found["lint"]),
    ]


def table(network: str, found: dict[str, dict[str, Any]]) -> str:
    """Markdown; latencies are minimum, median and maximum of the ratio to float32."""
    rows = [list(HEADER), ["---"] * len(HEADER), *(cells(name, one) for name, one in found.items())]
    return f"## {network}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("networks", nargs="+", type=Path)
    parser.add_argument("--data", required=True, help="what onnxcomp's --data takes")
    parser.add_argument("--only", action="append", help="pattern of rows to run; the others only if kept")
    parser.add_argument(
        "--again",
        choices=("latency", "lint", "all"),
        default="",
        help="measure those rows that are kept again, or their latency or rules alone",
    )
    parser.add_argument("--python", default=sys.executable, help="makes the environments")
    parser.add_argument("--memory", type=float, default=12, help="GiB that quantising may take")
    options = parser.parse_args()
    bench = Bench(options.work.resolve(), options.data, options.python, options.memory)
    (bench.work / "results").mkdir(parents=True, exist_ok=True)
    tables: dict[str, dict[str, Any]] = {}
    for network in options.networks:
        tables[network.stem] = {}
        for row in (FLOAT, *ROWS):
            wanted = not options.only or any(fnmatch.fnmatch(row.name, one) for one in options.only)
            found = outcome(bench, row, network, wanted or row is FLOAT, options.again if wanted else "")
            if found:
                tables[network.stem][row.name] = found
    text = "\n".join(table(network, found) for network, found in tables.items())
    sys.stdout.write(text)
    (bench.work / "ptq.md").write_text(text, encoding="utf-8")
    (bench.work / "ptq.json").write_text(json.dumps(tables, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
