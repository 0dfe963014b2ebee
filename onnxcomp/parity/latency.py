"""How long one image takes on this machine."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from onnxcomp import runtime
from onnxcomp.errors import OnnxcompError
from onnxcomp.model import Model
from onnxcomp.providers import Provider

WARM_UP_RUNS, WARM_UP_SECONDS = 10, 0.5
LEAST_RUNS, LEAST_SECONDS = 100, 2.0


@dataclass(frozen=True)
class Latency:
    """Time from feeding a batch to having its logits.

    Attributes:
        median: milliseconds.
        p99: milliseconds; 99 % of the runs were faster.
        runs: number of timed runs.
        threads: threads given to ONNX Runtime.
        batch: images per run: 1, or the network's fixed batch.
        provider: of ONNX Runtime, that ran it.
    """

    median: float
    p99: float
    runs: int
    threads: int
    batch: int
    provider: Provider = "cpu"


def measure_latency(
    model: Model, *, threads: int, runs: int | None = None, provider: Provider = "cpu"
) -> Latency:
    """Time single runs one after the other on random images, after a warm-up.

    Args:
        runs: how many; None for at least 100 and at least 2 seconds.

    Raises:
        OnnxcompError: ``runs`` is below 1.
        ModelError: ONNX Runtime cannot load the network.
    """
    if runs is not None and runs < 1:
        raise OnnxcompError(f"{runs} timed runs", where="latency", fix="ask for at least 1")
    session = runtime.session(model, threads=threads, provider=provider)
    batch = model.batch or 1
    rng = np.random.default_rng(0)
    feed = {model.image.name: rng.standard_normal((batch, *model.image_shape), dtype=np.float32)}

    def run() -> float:
        start = time.perf_counter()
        session.run(None, feed)
        return time.perf_counter() - start

    warm = 0.0
    for _ in range(WARM_UP_RUNS):
        warm += run()
        if warm > WARM_UP_SECONDS:
            break
    times: list[float] = []
    total = 0.0
    while len(times) < runs if runs else len(times) < LEAST_RUNS or total < LEAST_SECONDS:
        times.append(run())
        total += times[-1]
    milliseconds = np.asarray(times) * 1e3
    return Latency(
        float(np.median(milliseconds)),
        float(np.percentile(milliseconds, 99)),
        len(times),
        threads,
        batch,
        provider,
    )
