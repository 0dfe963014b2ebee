"""TensorRT through its Python API on this machine, by way of Polygraphy.

Not run where this was written: TensorRT makes no builder without a GPU. It follows the documented API of
TensorRT 8.6 to 11 ("Python API Reference": IBuilderConfig, IProfiler, EngineInspector) and of Polygraphy.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcomp import extras
from onnxcomp.deploy.engines.by_trtexec import device_name
from onnxcomp.deploy.engines.runtime import FailedError, Measured, OnLine, Running
from onnxcomp.deploy.engines.source import Source
from onnxcomp.deploy.engines.wish import Wish
from onnxcomp.deploy.machine import LocalMachine, Machine
from onnxcomp.deploy.trtexec.failures import Failure, Kind, find_failure
from onnxcomp.deploy.trtexec.flags import FlagError
from onnxcomp.deploy.trtexec.log import Log, Summary, Times, read_log
from onnxcomp.deploy.trtexec.version import Version

PERCENTILES = (90.0, 95.0, 99.0)
LEVELS = Version(8, 6, 0)
"""From here on there is a ``builder_optimization_level``."""
TYPED = Version(11, 0, 0)
"""From here on the types in the ONNX file decide; there is no flag for INT8 or FP16."""


@dataclass(frozen=True)
class ByPython:
    """A :class:`..runtime.Runtime`; for the methods see there."""

    version: Version
    gpu: str
    machine: Machine = field(default_factory=LocalMachine)

    @classmethod
    def find(cls) -> ByPython:
        """The TensorRT that is installed here.

        Raises:
            MissingPackageError: there is none.
        """
        trt = extras.optional("tensorrt", "trt")
        return cls(
            Version(*(int(part) for part in trt.__version__.split(".")[:3])), device_name(LocalMachine())
        )

    def check(self, source: Source, wish: Wish) -> None:
        if wish.dla_core is not None:
            raise FlagError("engines for a DLA are built by trtexec", fix="give --trtexec PATH or --host")
        if wish.optimization_level is not None and self.version < LEVELS:
            raise FlagError(
                f"TensorRT {self.version} has no optimization levels",
                fix="leave the level out; they came with 8.6",
            )

    def build(
        self, onnx: Path, source: Source, wish: Wish, engine: str, timing_cache: str, on_line: OnLine
    ) -> Log:
        self.check(source, wish)
        from polygraphy.backend.trt import CreateConfig, EngineBytesFromNetwork, NetworkFromOnnxPath

        typed = self.version >= TYPED
        config = CreateConfig(**self._config(source, wish, timing_cache, typed=typed))
        network = NetworkFromOnnxPath(str(onnx), **({"strongly_typed": True} if typed else {}))
        start = time.monotonic()
        with _logged(on_line) as lines:
            data = EngineBytesFromNetwork(network, config=config, save_timing_cache=timing_cache)()
        Path(engine).write_bytes(data)
        lines.append(f"[I] Engine built in {time.monotonic() - start:.3f} sec.")
        return read_log(lines)

    def _config(self, source: Source, wish: Wish, timing_cache: str, *, typed: bool) -> dict[str, Any]:
        from polygraphy.backend.trt import Profile

        shapes = source.shapes(wish.batch, wish.shapes)
        profile = Profile()
        for name, shape in shapes.items():
            profile.add(name, shape, shape, shape)
        options: dict[str, Any] = {
            "tf32": wish.tf32,
            "sparse_weights": wish.sparse,
            "load_timing_cache": timing_cache,
        }
        if not typed:
            options |= {"int8": source.quantised, "fp16": wish.fp16}
        if shapes:
            options["profiles"] = [profile]
        if wish.workspace is not None:
            trt = extras.optional("tensorrt", "trt")
            options["memory_pool_limits"] = {trt.MemoryPoolType.WORKSPACE: wish.workspace * 2**20}
        if wish.optimization_level is not None:
            options["builder_optimization_level"] = wish.optimization_level
        return options

    def measure(self, engine: str, running: Running, folder: Path, on_line: OnLine) -> Measured:
        """As trtexec does: inputs stay on the GPU; layers are timed in a run of their own.

        A run's time is that of the call and the wait for its end, with Python's share of some tens of
        microseconds.
        """
        trt = extras.optional("tensorrt", "trt")
        from polygraphy.backend.trt import TrtRunner

        with _logged(on_line), TrtRunner(_engine(engine)) as runner:
            feed = _on_device(runner, running)
            _repeat(runner, feed, running.warm_up / 1000)
            times = _repeat(runner, feed, running.duration)
            recorder = _recorder(trt)
            runner.context.profiler = recorder
            runs = len(_repeat(runner, feed, running.duration / 2))
            inspector = runner.engine.create_engine_inspector()
            layers = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        paths = [folder / f"{name}.json" for name in ("profile", "layers", "times")]
        contents = (_profile(recorder.seen, runs), layers, _times(times))
        for path, text in zip(paths, contents, strict=True):
            path.write_text(text, encoding="utf-8")
        log = Log(version=self.version, gpu=self.gpu, passed=True, summary=summary(times))
        return Measured(log, *paths)

    def infer(
        self, engine: str, inputs: Mapping[str, NDArray[Any]], running: Running
    ) -> dict[str, NDArray[np.float64]]:
        from polygraphy.backend.trt import TrtRunner

        with _logged(lambda line: None), TrtRunner(_engine(engine)) as runner:
            outputs = runner.infer(dict(inputs))
        return {name: np.asarray(array, np.float64) for name, array in outputs.items()}


def summary(times: list[float]) -> Summary:
    """Of runs one after the other.

    Args:
        times: milliseconds, at least one.
    """
    found = Times(
        min=min(times),
        max=max(times),
        mean=fmean(times),
        median=median(times),
        percentiles=tuple((each, float(np.percentile(times, each))) for each in PERCENTILES),
    )
    return Summary(throughput=1000 * len(times) / sum(times), latency=found, walltime=sum(times) / 1000)


def _engine(path: str) -> Any:
    from polygraphy.backend.common import BytesFromPath
    from polygraphy.backend.trt import EngineFromBytes

    return EngineFromBytes(BytesFromPath(path))


def _on_device(runner: Any, running: Running) -> dict[str, Any]:
    from polygraphy.cuda import DeviceArray

    feed = {}
    for name, (dtype, shape) in runner.get_input_metadata().items():
        wanted = tuple(running.shapes.get(name, shape))
        feed[name] = DeviceArray.copy_from(np.zeros(wanted, dtype))
    return feed


def _repeat(runner: Any, feed: dict[str, Any], seconds: float) -> list[float]:
    """Milliseconds of each run; at least ten."""
    times: list[float] = []
    until = time.monotonic() + seconds
    while len(times) < 10 or time.monotonic() < until:
        runner.infer(feed, copy_outputs_to_host=False, check_inputs=False)
        times.append(1000 * runner.last_inference_time())
    return times


def _recorder(trt: Any) -> Any:
    """An IProfiler that keeps each layer's milliseconds in ``seen``."""

    class Recorder(trt.IProfiler):  # type: ignore[misc]  # known only at run time
        def __init__(self) -> None:
            super().__init__()
            self.seen: dict[str, list[float]] = {}

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.seen.setdefault(layer_name, []).append(ms)

    return Recorder()


def _profile(seen: Mapping[str, list[float]], runs: int) -> str:
    """In the form of trtexec's ``--exportProfile``."""
    total = sum(map(sum, seen.values())) or 1.0
    items: list[dict[str, Any]] = [{"count": runs}]
    for name, times in seen.items():
        share = 100 * sum(times) / total
        items.append(
            {
                "name": name,
                "timeMs": sum(times),
                "averageMs": fmean(times),
                "medianMs": median(times),
                "percentage": share,
            }
        )
    return json.dumps(items)


def _times(times: list[float]) -> str:
    """In the form of trtexec's ``--exportTimes``, of runs one after the other without copies."""
    items, start = [], 0.0
    for ms in times:
        end = start + ms
        begun = dict.fromkeys(("startEnqMs", "startH2dMs", "endH2dMs", "startComputeMs"), start)
        ended = dict.fromkeys(("endEnqMs", "endComputeMs", "startD2hMs", "endD2hMs"), end)
        items.append({**begun, **ended, "h2dMs": 0.0, "computeMs": ms, "d2hMs": 0.0, "latencyMs": ms})
        start = end
    return json.dumps(items)


@contextlib.contextmanager
def _logged(on_line: OnLine) -> Iterator[list[str]]:
    """Collect what TensorRT says, through Polygraphy; its errors become :class:`FailedError`."""
    from polygraphy.exception import PolygraphyException
    from polygraphy.logger import G_LOGGER

    lines: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            for line in record.getMessage().splitlines():
                lines.append(line)
                on_line(line)

    logger, handler = logging.getLogger("Polygraphy"), Handler()
    before = (logger.level, logger.propagate, G_LOGGER.use_python_logging_system, G_LOGGER.colors)
    logger.addHandler(handler)
    logger.setLevel(1)
    logger.propagate, G_LOGGER.use_python_logging_system, G_LOGGER.colors = False, True, False
    try:
        with G_LOGGER.verbosity(G_LOGGER.VERBOSE):
            yield lines
    except PolygraphyException as error:
        text = "\n".join([*lines, str(error)])
        raise FailedError(find_failure(text, 1) or Failure(Kind.OTHER, str(error)), lines) from error
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate, G_LOGGER.use_python_logging_system, G_LOGGER.colors = before[1:]
