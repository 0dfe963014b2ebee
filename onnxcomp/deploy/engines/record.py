"""What an engine was built of and how, as JSON beside it: an engine itself does not say."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxcomp.errors import OnnxcompError

SUFFIX = ".json"


@dataclass(frozen=True)
class Record:
    """One engine.

    Attributes:
        onnx: file that it was built of, as the user named it.
        digest: SHA-256 of that file and what stood beside it (:attr:`..source.Source.digest`).
        key: name of the engine in the cache of the machine that built it.
        target: name of the target, "" for none.
        tensorrt: version that built it, and that alone runs it.
        gpu: the device's name; the engine runs on no other kind.
        shapes: of the inputs that the file leaves free.
        options: what else was wished (:class:`..wish.Wish`).
        dequantised: Q and DQ nodes that were removed because there was no INT8 kernel.
        eligible, chosen: layers with 2:4 sparse weights, and those that got a sparse kernel; None where
            TensorRT did not say.
        seconds: that the last build took.
        notes: what TensorRT said that matters.
        sha256: of the engine.
    """

    onnx: str
    digest: str
    key: str
    target: str
    tensorrt: str
    gpu: str
    shapes: dict[str, list[int]]
    options: dict[str, Any]
    dequantised: tuple[str, ...] = ()
    eligible: int | None = None
    chosen: int | None = None
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def text(self) -> str:
        """As JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"


def beside(engine: Path) -> Path:
    """Where the record of ``engine`` is."""
    return engine.with_name(engine.name + SUFFIX)


def parse(text: str, where: str) -> Record:
    """A record from its JSON.

    Raises:
        OnnxcompError: it is none.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Record).validate_json(text)
    except ValidationError as error:
        fix = "build the engine again"
        raise OnnxcompError("is not what onnxcomp writes beside an engine", where=where, fix=fix) from error


def find(engine: Path) -> Record | None:
    """The record beside ``engine``; None where there is none.

    Raises:
        OnnxcompError: it is damaged.
    """
    path = beside(engine)
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OnnxcompError(f"cannot be read ({error.strerror})", where=str(path)) from error
    return parse(text, str(path))
