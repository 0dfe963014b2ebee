"""TensorRT through its own ``trtexec``, on whatever machine."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcomp.deploy.board import read_board
from onnxcomp.deploy.engines.runtime import FailedError, Measured, OnLine, Running
from onnxcomp.deploy.engines.source import Source
from onnxcomp.deploy.engines.wish import Wish
from onnxcomp.deploy.machine import DeviceError, Machine
from onnxcomp.deploy.trtexec import flags, values
from onnxcomp.deploy.trtexec.failures import Kind, failure_error, find_failure
from onnxcomp.deploy.trtexec.log import Log, read_log
from onnxcomp.deploy.trtexec.notices import Notice
from onnxcomp.deploy.trtexec.version import Version, supported_version

PLACES = ("trtexec", "/usr/src/tensorrt/bin/trtexec")
"""On the PATH, and where JetPack and the Debian packages put it."""
HELP_SECONDS = 60.0
"""Loading TensorRT's libraries takes a board several seconds."""


@dataclass(frozen=True)
class ByTrtexec:
    """A :class:`..runtime.Runtime`; for the methods see there.

    Attributes:
        path: of trtexec there.
    """

    machine: Machine
    path: str
    version: Version
    gpu: str

    @classmethod
    def find(cls, machine: Machine, path: str | None = None, gpu: str | None = None) -> ByTrtexec:
        """trtexec at ``path`` on ``machine``, or where it usually is.

        Args:
            gpu: what the device is called; None to ask it.

        Raises:
            DeviceError: there is none.
            VersionError: it is of a version that is not supported.
        """
        places = PLACES if path is None else (path,)
        for place in places:
            done = machine.run([place, "--help"], timeout=HELP_SECONDS)
            failure = find_failure(f"{done.out}\n{done.err}", done.code)
            if done.code == 127 and failure is not None and failure.kind is Kind.NO_LIBRARY:
                raise failure_error(failure, f"{machine.name}: {place}")
            if done.code != 127:
                where = f"{machine.name}: {place}"
                version = supported_version(f"{done.out}\n{done.err}", where)
                return cls(machine, _absolute(machine, place), version, gpu or device_name(machine))
        fix = "install nvidia-jetpack there, or name it with --trtexec"
        raise DeviceError(f"there is no {' and no '.join(places)}", where=machine.name, fix=fix)

    def check(self, source: Source, wish: Wish) -> None:
        calibration = None if source.calibration is None else source.calibration.name
        flags.build_words(_build(source, wish, source.path.name, "engine", calibration), self.version)

    def build(
        self, onnx: Path, source: Source, wish: Wish, engine: str, timing_cache: str, on_line: OnLine
    ) -> Log:
        calibration = None
        if source.calibration is not None:
            calibration = self.machine.put(source.calibration, "calibration.cache")
        there = self.machine.put(onnx, "model.onnx")
        build = dataclasses.replace(
            _build(source, wish, there, engine, calibration), timing_cache=timing_cache
        )
        with self.machine.workspace() as folder:
            log = self._run(flags.build_words(build, self.version), folder, on_line)
        said = (Notice("options", text) for text in flags.build_notes(build, self.version))
        return dataclasses.replace(log, notices=(*log.notices, *said))

    def measure(self, engine: str, running: Running, folder: Path, on_line: OnLine) -> Measured:
        names = ("profile", "layers", "times")
        with self.machine.workspace() as there:
            profile, layers, times = (f"{there}/{name}.json" for name in names)
            measure = flags.Measure(
                engine=engine,
                warm_up=running.warm_up,
                duration=running.duration,
                shapes=running.shapes,
                dla_core=running.dla_core,
                profile=profile,
                layers=layers,
                times=times,
            )
            log = self._run(flags.profile_words(measure, self.version), there, on_line)
            for path in (profile, layers, times):
                self.machine.get(path, folder / Path(path).name)
        return Measured(log, *(folder / f"{name}.json" for name in names))

    def infer(
        self, engine: str, inputs: Mapping[str, NDArray[Any]], running: Running
    ) -> dict[str, NDArray[np.float64]]:
        with self.machine.workspace() as there, tempfile.TemporaryDirectory() as here:
            files = {}
            for index, (name, array) in enumerate(inputs.items()):
                values.write_input(Path(here, str(index)), array, name)
                files[name] = f"{there}/{index}.raw"
                self.machine.send(Path(here, str(index)), files[name])
            infer = flags.Infer(engine, files, f"{there}/output.json", running.shapes, running.dla_core)
            self._run(flags.infer_words(infer, self.version), there, lambda line: None)
            self.machine.get(infer.output, Path(here, "output.json"))
            return values.read_outputs(Path(here, "output.json"))

    def _run(self, words: Sequence[str], folder: str, on_line: OnLine) -> Log:
        lines: list[str] = []

        def take(line: str) -> None:
            lines.append(line)
            on_line(line)

        code = self.machine.job([self.path, *words], folder, take)
        failure = find_failure("\n".join(lines), code)
        if failure is not None:
            raise FailedError(failure, lines)
        return read_log(lines)


def _build(source: Source, wish: Wish, onnx: str, engine: str, calibration: str | None) -> flags.Build:
    """With paths there."""
    return flags.Build(
        onnx=onnx,
        engine=engine,
        int8=source.quantised or calibration is not None,
        fp16=wish.fp16,
        sparse=wish.sparse,
        tf32=wish.tf32,
        shapes=source.shapes(wish.batch, wish.shapes),
        dla_core=wish.dla_core,
        calibration=calibration,
        layer_precisions=source.precisions,
        workspace=wish.workspace,
        optimization_level=wish.optimization_level,
    )


def _absolute(machine: Machine, place: str) -> str:
    """A path that is right in any folder; a name on the PATH stays one."""
    if "/" not in place or place.startswith("/"):
        return place
    return machine.run(["realpath", place]).out.strip()


def device_name(machine: Machine) -> str:
    """The board as its device tree calls it, else the graphics card as its driver does."""
    return read_board(machine).name or "unknown GPU"
