"""One quantised file against the float network, always in the same ONNX Runtime: ``ptq_measure.py JOB.json``.

Runs in the environment ``ort`` of ptq_settings.py, where there is no onnxcomp. JOB.json says ``float`` and
``quantized`` (files), ``images`` and ``labels`` (.npy, the test set, preprocessed), ``reference`` (where the
float network's logits are kept), ``parts`` (of ``accuracy`` and ``latency``) and ``result``, the file to
write. One thread; ONNX Runtime's own choice of kernels, so integer ones where it has them. Latency is in CPU
seconds of that thread: what a run takes on an idle core, whoever else wants this one.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime  # noqa: TID251 - of an environment without onnxcomp
from numpy.typing import NDArray

BATCH = 100
ROUNDS = {1: 60, 16: 20}
WARM = 3


def session(path: str) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(network: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
    found = network.run(None, {network.get_inputs()[0].name: images})[0]
    return np.asarray(found, np.float32).reshape(len(images), -1)


def logits(path: str, images: NDArray[np.float32]) -> NDArray[np.float32]:
    network = session(path)
    size = network.get_inputs()[0].shape[0]
    size = size if isinstance(size, int) else BATCH
    return np.concatenate([run(network, images[at : at + size]) for at in range(0, len(images), size)])


def accuracy(job: dict[str, Any]) -> dict[str, float]:
    images, labels = np.load(job["images"]), np.load(job["labels"])
    kept = Path(job["reference"])
    if not kept.exists():
        np.save(kept, logits(job["float"], images))
    reference = np.load(kept)
    found = reference if job["quantized"] == job["float"] else logits(job["quantized"], images)
    error = float(np.square(found - reference, dtype=np.float64).sum())
    signal = float(np.square(reference, dtype=np.float64).sum())
    return {
        "top1": 100 * float((found.argmax(1) == labels).mean()),
        "agreement": 100 * float((found.argmax(1) == reference.argmax(1)).mean()),
        "sqnr": 10 * float(np.log10(signal / error)) if error > 0 else float("inf"),
    }


def latency(job: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Both files in turns: CPU milliseconds of each, and of the ratios by round; minimum, median, maximum."""
    networks = {name: session(job[name]) for name in ("float", "quantized")}
    found = {}
    for batch, rounds in ROUNDS.items():
        shape = (batch, *networks["float"].get_inputs()[0].shape[1:])
        images = np.random.default_rng(0).standard_normal(shape, np.float32)
        times: dict[str, list[float]] = {name: [] for name in networks}
        for turn in range(rounds + WARM):
            for name, network in networks.items():
                start = time.process_time()
                run(network, images)
                if turn >= WARM:
                    times[name].append(1e3 * (time.process_time() - start))
        ratios = [one / base for one, base in zip(times["quantized"], times["float"], strict=True)]
        found[str(batch)] = {
            "ratio": [min(ratios), median(ratios), max(ratios)],
            **{name: [min(values), median(values), max(values)] for name, values in times.items()},
        }
    return found


PARTS = {"accuracy": accuracy, "latency": latency}


def main(path: str) -> None:
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    result: dict[str, Any] = {part: PARTS[part](job) for part in job["parts"]}
    result["runtime"] = onnxruntime.__version__
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
