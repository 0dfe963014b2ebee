"""One training step of onnxcomp and of PyTorch eager, side by side: ``train_step.py --help``.

Plain step: task loss and SGD with Nesterov momentum. Full step: masks, per-channel weight and per-tensor
activation fake-quantise, teacher, soft targets and activation boundaries as well. Networks are those of
``onnxcomp export`` for 3x32x32; ``name/cifar`` takes the stem cifar. Each contender is a process of its
own; the parent gives them turns of a few steps, in alternating order, so a slow moment of the machine
falls on all of them. A ratio is onnxcomp's over PyTorch's within one round. Of PyTorch's variants (its
fused optimiser always, NCHW or channels_last, the weights' observer fused or not) the fastest is kept.

Needs ``onnxcomp[train]`` and torch in one environment. Prints tables and writes train_step.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import forms
from breakdown import by_operator, summary

HERE = Path(__file__).parent
NETWORKS = ("densenet201", "resnet18", "resnet18/cifar", "vgg11_bn/cifar")
TORCH = {
    "plain": {"NCHW": ["fused"], "channels_last": ["fused", "channels_last"]},
    "full": {
        "NCHW": ["fused"],
        "channels_last": ["fused", "channels_last"],
        "NCHW, fused observer": ["fused", "fused_observer"],
        "channels_last, fused observer": ["fused", "fused_observer", "channels_last"],
    },
}
WHO = ("onnxcomp", "torch")
MIB = 1024  # KiB


class ContenderError(Exception):
    """A contender ended or did not answer in time; the last line it wrote."""


class Worker:
    """A contender's process."""

    def __init__(self, spec: dict[str, Any], folder: Path, python: str = sys.executable) -> None:
        self.label = f"{spec['contender']} {spec.get('label', '')}".strip()
        path = folder / f"{self.label.replace(' ', '-')}.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        self._log = path.with_suffix(".log")
        # Threads that wait sleep, as onnxcomp's do: CPU seconds would count the spinning otherwise.
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(spec["threads"]),
            "OMP_WAIT_POLICY": "PASSIVE",
            "MKL_NUM_THREADS": str(spec["threads"]),
        }
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, str(HERE / "worker.py"), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
                env=environment,
            )

    def ask(self, command: str, timeout: float = 600) -> dict[str, Any]:
        """Send a command ("" to wait until it is ready) and wait for the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if command:
            self._process.stdin.write(command + "\n")
            self._process.stdin.flush()
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            text = self._log.read_text(errors="replace").strip().splitlines()
            raise ContenderError(text[-1][:300] if text else "no answer")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def running(spec: dict[str, Any], folder: Path, python: str = sys.executable) -> Iterator[Worker]:
    worker = Worker(spec, folder, python)
    try:
        worker.ask("")
        yield worker
    finally:
        worker.close()


def measure(spec: dict[str, Any], folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """All rounds of one network, step and number of threads."""
    with ExitStack() as stack:
        ours = stack.enter_context(running({**spec, "contender": "onnxcomp"}, folder))
        peers = {
            label: stack.enter_context(
                running({**spec, "contender": "torch", "label": label, "variants": variants}, folder)
            )
            for label, variants in TORCH[spec["step"]].items()
        }
        memory = {label: _memory(worker) for label, worker in [("onnxcomp", ours), *peers.items()]}
        turns = [{label: w.ask("steps 2")["cpu"] / 2 for label, w in peers.items()} for _ in range(3)]
        trial = {label: min(turn[label] for turn in turns) for label in peers}
        best = min(trial, key=lambda label: trial[label])
        theirs = peers[best]
        for label, worker in peers.items():
            if label != best:
                worker.close()
        rounds = [_round(index, ours, theirs, options.block) for index in range(options.rounds)]
    ratios = [r["onnxcomp"]["cpu"] / r["torch"]["cpu"] for r in rounds]
    walls = [r["onnxcomp"]["wall"] / r["torch"]["wall"] for r in rounds]
    return {
        **{key: spec[key] for key in ("network", "step", "threads", "batch")},
        "torch_variant": best,
        "torch_variants_cpu": trial,
        "cpu": {who: _spread([r[who]["cpu"] / options.block for r in rounds]) for who in WHO},
        "ratio": _spread(ratios),
        "wall_ratio": _spread(walls),
        "peak_mib": {"onnxcomp": memory["onnxcomp"], "torch": memory[best]},
        "gemm_flops": {who: max(r[who]["gemm"] for r in rounds) for who in WHO},
        "outside_engine": median(1 - r["onnxcomp"]["engine"] / r["onnxcomp"]["cpu"] for r in rounds),
        "rounds": rounds,
    }


def _memory(worker: Worker) -> dict[str, float]:
    """Highest resident memory in MiB until the contender is built, and during its first steps."""
    build = worker.ask("memory")["peak"] / MIB
    worker.ask("steps 3")
    return {"build": build, "steps": worker.ask("memory")["peak"] / MIB}


def _round(index: int, ours: Worker, theirs: Worker, block: int) -> dict[str, Any]:
    turns = [("onnxcomp", ours), ("torch", theirs)]
    found = {who: worker.ask(f"steps {block}") for who, worker in turns[:: 1 if index % 2 else -1]}
    for who, worker in turns:
        found[who]["gemm"] = worker.ask("gemm 8")["rate"]
    return found


def _spread(values: Sequence[float]) -> list[float]:
    """Minimum, median, maximum."""
    return [min(values), median(values), max(values)]


def divide(result: dict[str, Any], spec: dict[str, Any], folder: Path, flops: float) -> dict[str, Any]:
    """Where onnxcomp's step goes and how far it is from the machine's peak, both of one thread."""
    prefix = folder / f"profile-{spec['step']}"
    for old in folder.glob(f"{prefix.name}*.json"):
        old.unlink()
    with running({**spec, "contender": "onnxcomp", "label": "profiled", "profile": str(prefix)}, folder) as w:
        w.ask("steps 5")
    profiles = sorted(folder.glob(f"{prefix.name}_*.json"), key=lambda path: path.stat().st_size)
    operators = by_operator(profiles[-1], skip=2)
    cpu, peak = result["cpu"]["onnxcomp"][0], max(result["gemm_flops"].values())
    outside = cpu * result["outside_engine"]
    return {
        "flops": flops,
        "peak_flops": peak,
        "share_of_peak": {who: flops / result["cpu"][who][0] / peak for who in result["cpu"]},
        "shares": summary(operators, cpu=cpu, outside=outside, flops=flops, peak=peak),
        "operators": dict(sorted(operators.items(), key=lambda item: -item[1][0])),
    }


def onnxsim(spec: dict[str, Any], folder: Path, python: str, ours: float) -> dict[str, Any]:
    """A plain step of onnxsim's training loop, or why there is none."""
    try:
        with running({**spec, "contender": "onnxsim"}, folder, python) as worker:
            worker.ask("steps 1")
            found = min(worker.ask("steps 1")["cpu"] for _ in range(3))
            return {"cpu": found, "ratio": ours / found, "peak_mib": worker.ask("memory")["peak"] / MIB}
    except ContenderError as error:
        return {"failed": str(error)}


def main() -> None:
    options = _options()
    results = []
    with tempfile.TemporaryDirectory() as name:
        for network in options.networks:
            folder = Path(name) / network.replace("/", "-")
            folder.mkdir()
            model = forms.write(network, folder, options.batch)
            forward = 2 * forms.multiply_adds(model) * options.batch
            for step in options.steps:
                for threads in options.threads:
                    spec = {
                        "network": network,
                        "step": step,
                        "threads": threads,
                        "batch": options.batch,
                        "folder": str(folder),
                    }
                    result = measure(spec, folder, options)
                    if threads == 1:
                        flops = forward * (4 if step == "full" else 3)
                        result["peak"] = divide(result, spec, folder, flops)
                    if threads == 1 and step == "plain" and options.onnxsim:
                        ours = result["cpu"]["onnxcomp"][0]
                        result["onnxsim"] = onnxsim(spec, folder, options.onnxsim, ours)
                    results.append(result)
                    _show(result)
                    text = json.dumps({"machine": _machine(), "results": results}, indent=1)
                    options.json.write_text(text + "\n", encoding="utf-8")


def _show(result: dict[str, Any]) -> None:
    def spread(values: Sequence[float]) -> str:
        return " / ".join(f"{value:.3f}" for value in values)

    lines = [
        f"{result['network']} {result['step']} step, batch {result['batch']}, threads {result['threads']}"
    ]
    rows = {
        "onnxcomp CPU s a step": spread(result["cpu"]["onnxcomp"]),
        f"PyTorch ({result['torch_variant']})": spread(result["cpu"]["torch"]),
        "ratio of CPU seconds": spread(result["ratio"]),
        "ratio of wall seconds": spread(result["wall_ratio"]),
        "peak memory, MiB": ", ".join(
            "{} {build:.0f} until built, {steps:.0f} in steps".format(who, **found)
            for who, found in result["peak_mib"].items()
        ),
    }
    if "onnxsim" in result:
        found = result["onnxsim"]
        rows["onnxsim"] = (
            found.get("failed")
            or f"{found['cpu']:.3f} s, ratio {found['ratio']:.3f}, {found['peak_mib']:.0f} MiB"
        )
    if "peak" in result:
        peak = result["peak"]
        share = "onnxcomp {onnxcomp:.1%}, PyTorch {torch:.1%}".format(**peak["share_of_peak"])
        rows["share of peak"] = (
            f"{share} of {peak['peak_flops'] / 1e9:.0f} GFLOP/s; {peak['flops'] / 1e9:.1f} GFLOP a step"
        )
        rows["onnxcomp's step is"] = ", ".join(f"{v:.0%} {k}" for k, v in peak["shares"].items())
        top = list(peak["operators"].items())[:10]
        rows["kernels, ms"] = ", ".join(f"{name} {1e3 * s:.0f} ({calls})" for name, (s, calls) in top)
    lines += [f"  {name:24} {text}" for name, text in rows.items()]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def _machine() -> dict[str, str]:
    from importlib.metadata import version

    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    packages = {name: version(name) for name in ("onnxruntime-training-cpu", "torch", "numpy")}
    return {"cpu": cpu[0].partition(": ")[2] if cpu else platform.machine(), **packages}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME[/STEM]")
    parser.add_argument("--steps", nargs="+", choices=("plain", "full"), default=["plain", "full"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--block", type=int, default=2, help="steps of a turn")
    parser.add_argument("--onnxsim", metavar="PYTHON", help="interpreter with onnxsim 0.8.1 and onnxruntime")
    parser.add_argument("--json", type=Path, default=Path("train_step.json"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
