"""All that one measurement of an engine tells, as a value that goes to a file and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from onnxcomp.deploy.profile.layer import Layer, Totals
from onnxcomp.deploy.trtexec.log import Summary
from onnxcomp.errors import OnnxcompError
from onnxcomp.files import write_atomically

MAX_BYTES = 2**28
FORMAT: Literal["onnxcomp profile 1"] = "onnxcomp profile 1"


class ProfileError(OnnxcompError):
    """A file that holds no profile."""


@dataclass(frozen=True)
class Conditions:
    """Under what it was measured; "" and None for what is not known.

    Attributes:
        engine: the file.
        onnx: the file that it was built of.
        machine: where it was measured.
        gpu: the device's name.
        tensorrt: its version.
        power: the power mode, as the device says it.
        clocks: of GPU and memory, as the device says them.
        batch: images in a query.
        notes: warnings of trtexec and others.
    """

    engine: str = ""
    onnx: str = ""
    machine: str = ""
    gpu: str = ""
    tensorrt: str = ""
    power: str = ""
    clocks: str = ""
    batch: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Profile:
    """One measurement.

    Attributes:
        format: says in a file what it is.
        conditions: under what.
        summary: throughput, latency, GPU time; None where trtexec gave neither a summary nor the runs.
        layers: in the order in which they run; those without a time last.
        totals: over them.
        notes: what a reader must know.
    """

    format: Literal["onnxcomp profile 1"]
    conditions: Conditions
    summary: Summary | None
    layers: tuple[Layer, ...]
    totals: Totals
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As JSON, which :meth:`parse` reads; what is no finite number becomes null."""
        from pydantic import TypeAdapter

        return TypeAdapter(Profile).dump_json(self, indent=2).decode() + "\n"

    def save(self, path: Path) -> None:
        """Write it as JSON.

        Raises:
            OnnxcompError: the file cannot be written.
        """

        def write(temporary: Path) -> None:
            temporary.write_text(self.text, encoding="utf-8")

        write_atomically(path, write)

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Read what :meth:`save` wrote.

        Raises:
            ProfileError: the file cannot be read or holds no profile.
        """
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ProfileError("is too large for a profile", where=str(path))
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise ProfileError(f"cannot be read ({error.strerror})", where=str(path)) from error
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, where: str) -> Profile:
        """From its JSON.

        Raises:
            ProfileError: it is none.
        """
        from pydantic import TypeAdapter, ValidationError

        fix = "give a file that `onnxcomp profile --json` wrote"
        try:
            return TypeAdapter(Profile).validate_json(text)
        except ValidationError as error:
            raise ProfileError("holds no profile", where=where, fix=fix) from error
