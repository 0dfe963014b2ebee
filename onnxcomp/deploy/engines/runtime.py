"""What builds engines and runs them: trtexec on a machine, or TensorRT's Python API on this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxcomp.deploy.engines.source import Source
from onnxcomp.deploy.engines.wish import Wish
from onnxcomp.deploy.machine import Machine
from onnxcomp.deploy.trtexec.failures import Failure
from onnxcomp.deploy.trtexec.log import Log
from onnxcomp.deploy.trtexec.version import Version

OnLine = Callable[[str], None]
Shapes = Mapping[str, Sequence[int]]


class FailedError(Exception):
    """TensorRT did not do what it was asked.

    Attributes:
        failure: why.
        lines: its log.
    """

    def __init__(self, failure: Failure, lines: Sequence[str]) -> None:
        self.failure = failure
        self.lines = list(lines)
        super().__init__(failure.line)


@dataclass(frozen=True)
class Running:
    """How an engine is run.

    Attributes:
        shapes: of the inputs that are free in the file it was built of.
        dla_core: the DLA that it was built for.
        warm_up: milliseconds before the measurement.
        duration: seconds of the measurement.
    """

    shapes: Shapes
    dla_core: int | None = None
    warm_up: int = 500
    duration: int = 10


@dataclass(frozen=True)
class Measured:
    """What one measurement left, in trtexec's formats.

    Attributes:
        log: with the summary.
        profile, layers, times: files on this machine.
    """

    log: Log
    profile: Path
    layers: Path
    times: Path


class Runtime(Protocol):
    """TensorRT somewhere."""

    @property
    def machine(self) -> Machine:
        """Where it is."""

    @property
    def version(self) -> Version:
        """Its version."""

    @property
    def gpu(self) -> str:
        """What the device is called."""

    def check(self, source: Source, wish: Wish) -> None:
        """Whether it can be asked for ``wish``, before anything is sent or built.

        Raises:
            OnnxcompError: what is wished is not to be had there.
        """

    def build(
        self, onnx: Path, source: Source, wish: Wish, engine: str, timing_cache: str, on_line: OnLine
    ) -> Log:
        """Build an engine of the file ``onnx``, which is that of ``source`` or one made of it.

        Args:
            engine: path there that it is written to.
            timing_cache: path there; need not exist yet.

        Raises:
            FailedError: it could not be built.
            OnnxcompError: as :meth:`check`.
        """

    def measure(self, engine: str, running: Running, folder: Path, on_line: OnLine) -> Measured:
        """Measure the engine at the path ``engine`` there; files are left in ``folder`` here.

        Raises:
            FailedError: it did not run.
        """

    def infer(
        self, engine: str, inputs: Mapping[str, NDArray[Any]], running: Running
    ) -> dict[str, NDArray[np.float64]]:
        """Outputs by name, of one run on ``inputs``.

        Raises:
            FailedError: it did not run.
        """
