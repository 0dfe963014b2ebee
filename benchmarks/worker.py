"""One contender in a process of its own: ``worker.py SPEC.json``, then a command a line on stdin.

``steps K`` takes K steps and ``gemm K`` K square products of 1024 x 1024 float32; the answer is a line
of JSON with CPU seconds of all threads and wall seconds, and for onnxcomp those of the engine alone,
without optimiser, masks and scales. ``memory`` tells the highest memory since it was asked before. Nothing
is imported that the contender's users would not import.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

CLASSES, SIZE, GEMM = 10, 32, 1024
LR = 1e-3


class Contender(Protocol):
    def step(self, images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        """One training step with the optimiser; returns the loss."""

    def gemm(self) -> Callable[[], Any]:
        """A square float32 product with the runtime's own kernel."""


class TimedEngine:
    """An engine that adds up the CPU seconds of its steps."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def step(self, *arguments: Any) -> Any:
        start = time.process_time()
        result = self._engine.step(*arguments)
        self.seconds += time.process_time() - start
        return result


class Onnxcomp:
    """The trainer of ``onnxcomp train``, without its data and files."""

    def __init__(self, spec: dict[str, Any]) -> None:
        from onnxcomp import memory
        from onnxcomp import model as models
        from onnxcomp.training import engine
        from onnxcomp.training.config import TrainConfig
        from onnxcomp.training.trainer import Trainer

        model = models.load(Path(spec["folder"]) / f"{spec['step']}.onnx")
        config = TrainConfig(
            epochs=1, batch_size=spec["batch"], lr=LR, schedule="constant", warmup=0, threads=spec["threads"]
        )
        # As the loop does it.
        built = engine.build(model, batch_size=spec["batch"], threads=spec["threads"], projected=True)
        self._engine = TimedEngine(built)
        self._trainer = Trainer(self._engine, model, config, 10**9)
        built.save(model)
        memory.release()
        self._threads = spec["threads"]
        self._done = 0

    def step(self, images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        outcome = self._trainer.step(self._done, [(images, labels)])
        self._done += 1
        return outcome.losses["loss"]

    def gemm(self) -> Callable[[], Any]:
        from onnx import TensorProto, helper

        from onnxcomp import extras

        ort = extras.onnxruntime()
        square = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [GEMM, GEMM]) for n in "abc"]
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["a", "b"], ["c"])], "g", square[:2], square[2:]
        )
        opset = [helper.make_opsetid("", 17)]
        proto = helper.make_model(graph, opset_imports=opset, ir_version=8)
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = ort.InferenceSession(proto.SerializeToString(), options, ["CPUExecutionProvider"])
        feeds = {"a": np.ones((GEMM, GEMM), np.float32), "b": np.ones((GEMM, GEMM), np.float32)}
        return lambda: session.run(None, feeds)

    @property
    def engine_seconds(self) -> float:
        return self._engine.seconds


class Torch:
    """PyTorch eager; ``spec["variants"]`` as in :mod:`torch_compression`."""

    def __init__(self, spec: dict[str, Any]) -> None:
        import torch
        from torch_compression import FullTorch, PlainTorch

        torch.set_num_threads(spec["threads"])
        with np.load(Path(spec["folder"]) / f"{spec['step']}.npz") as arrays:
            kind = FullTorch if spec["step"] == "full" else PlainTorch
            training = kind(spec["network"], dict(arrays), spec["variants"], LR)
        self.step = training.step
        self._torch = torch

    def gemm(self) -> Callable[[], Any]:
        a, b = self._torch.ones(GEMM, GEMM), self._torch.ones(GEMM, GEMM)
        return lambda: self._torch.mm(a, b)


class Onnxsim:
    """``onnxsim.compile_training_loop``: SGD with plain momentum, BatchNormalization in inference form."""

    def __init__(self, spec: dict[str, Any]) -> None:
        import onnx
        import onnxruntime  # noqa: TID251 - of an environment without onnxcomp
        import onnxsim

        model = onnx.load(Path(spec["folder"]) / "onnxsim.onnx")
        frozen = ("running_mean", "running_var")
        trained = [
            tensor.name
            for tensor in model.graph.initializer
            if tensor.data_type == onnx.TensorProto.FLOAT
            and "." in tensor.name
            and not tensor.name.endswith(frozen)
        ]
        self._loop = onnxsim.compile_training_loop(model, "loss", trained, optimizer="sgd_momentum")
        # It makes its session itself and takes no number of threads.
        plain = onnxruntime.SessionOptions

        def options() -> Any:
            made = plain()
            made.intra_op_num_threads = spec["threads"]
            made.add_session_config_entry("session.intra_op.allow_spinning", "0")
            return made

        onnxruntime.SessionOptions = options

    def step(self, images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
        return float(self._loop({"input": images, "labels": np.eye(CLASSES, dtype=np.float32)[labels]}, LR))

    def gemm(self) -> Callable[[], Any]:
        raise NotImplementedError


CONTENDERS = {"onnxcomp": Onnxcomp, "torch": Torch, "onnxsim": Onnxsim}


def status(key: str) -> int:
    """A line of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(f"{key}:")).split()[1])


def timed(call: Callable[[int], Any], count: int) -> dict[str, Any]:
    """Time ``call(0)`` to ``call(count - 1)``."""
    cpu, wall = time.process_time(), time.perf_counter()
    for index in range(count):
        call(index)
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


class Answers:
    """What a contender answers to each command."""

    def __init__(self, spec: dict[str, Any]) -> None:
        rng = np.random.default_rng(0)
        shape = (spec["batch"], 3, SIZE, SIZE)
        self._batches = [
            (rng.standard_normal(shape).astype(np.float32), rng.integers(0, CLASSES, spec["batch"]))
            for _ in range(8)
        ]
        self._contender = CONTENDERS[spec["contender"]](spec)
        self._done = 0
        self._product: Callable[[], Any] | None = None

    def steps(self, count: int) -> dict[str, Any]:
        before = getattr(self._contender, "engine_seconds", 0.0)
        answer = timed(self._step, count)
        return {**answer, "engine": getattr(self._contender, "engine_seconds", 0.0) - before}

    def gemm(self, count: int) -> dict[str, Any]:
        if self._product is None:
            self._product = self._contender.gemm()
            self._product()
        product = self._product
        answer = timed(lambda _: product(), count)
        return {**answer, "rate": 2 * GEMM**3 * count / answer["cpu"]}

    def memory(self, count: int) -> dict[str, Any]:
        """The highest resident memory since the last time this was asked, in KiB."""
        peak = status("VmHWM")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        return {"peak": peak}

    def _step(self, _: int) -> float:
        images, labels = self._batches[self._done % len(self._batches)]
        self._done += 1
        return float(self._contender.step(images, labels))


def main(path: str) -> None:
    spec = json.loads(Path(path).read_text(encoding="utf-8"))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    if "profile" in spec:
        from breakdown import record_sessions

        record_sessions(spec["profile"])
    answers = Answers(spec)
    answer: dict[str, Any] = {"ready": True}
    while True:
        out.write(json.dumps(answer) + "\n")
        out.flush()
        command, _, count = sys.stdin.readline().strip().partition(" ")
        if not command:
            return
        answer = getattr(answers, command)(int(count or 0))


if __name__ == "__main__":
    main(sys.argv[1])
