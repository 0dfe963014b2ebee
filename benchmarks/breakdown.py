"""Where onnxcomp's step spends its time, by operator kind, from ONNX Runtime's own profiler."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Kernels whose arithmetic is multiply-adds of convolutions and linear layers.
PRODUCTS = ("Conv", "ConvGrad", "FusedConv", "Gemm", "MatMul", "FusedMatMul", "FusedGemm")


def record_sessions(prefix: str) -> None:
    """Every session made from now on writes a profile, to files that start with ``prefix``."""
    from onnxcomp import extras

    ort = extras.onnxruntime()
    plain = ort.SessionOptions

    def options() -> Any:
        made = plain()
        made.enable_profiling = True
        made.profile_file_prefix = prefix
        return made

    ort.SessionOptions = options


def by_operator(profile: Path, skip: int) -> dict[str, tuple[float, int]]:
    """Seconds and kernels of one step by operator, without the first ``skip`` runs of the session."""
    events = json.loads(profile.read_text(encoding="utf-8"))
    runs = sorted(event["ts"] for event in events if event["name"] == "model_run")
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
    for event in events:
        if (
            event.get("cat") == "Node"
            and event["name"].endswith("_kernel_time")
            and event["ts"] >= runs[skip]
        ):
            entry = found[event["args"]["op_name"]]
            entry[0] += event["dur"] / 1e6
            entry[1] += 1
    count = len(runs) - skip
    return {name: (seconds / count, calls // count) for name, (seconds, calls) in found.items()}


def summary(
    operators: Mapping[str, tuple[float, int]], *, cpu: float, outside: float, flops: float, peak: float
) -> dict[str, float]:
    """How a step's CPU seconds divide; shares of the step.

    Args:
        operators: of :func:`by_operator`.
        cpu: CPU seconds of a whole step, ``outside`` of them in optimiser, masks and scales.
        flops: the step's arithmetic.
        peak: FLOP per second of one core, measured in the same run.
    """
    kernels = sum(seconds for seconds, _ in operators.values())
    products = sum(operators[name][0] for name in PRODUCTS if name in operators)
    # The profile is of another run: scale its kernels to this run's engine seconds.
    scale = (cpu - outside) / kernels
    ideal = flops / peak
    return {
        "at peak rate": ideal / cpu,
        "products below peak": (products * scale - ideal) / cpu,
        "other kernels": (kernels - products) * scale / cpu,
        "optimiser, masks and scales": outside / cpu,
    }
