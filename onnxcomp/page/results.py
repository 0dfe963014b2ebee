"""``results.json`` of ``onnxcomp compress``, as it is on the disk: older runs say less."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from onnxcomp.errors import OnnxcompError

MAX_BYTES = 2**26
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]
LENIENT = ConfigDict(extra="ignore")


class DamagedError(OnnxcompError):
    """A file of a run directory that is not what it should be."""


@dataclass(frozen=True)
class Accuracy:
    """In percent, and the number of test images."""

    __pydantic_config__ = LENIENT

    top1: Number
    top5: Number | None = None
    count: Count | None = None


@dataclass(frozen=True)
class Size:
    """Bytes."""

    __pydantic_config__ = LENIENT

    raw: Count
    deflated: Count


@dataclass(frozen=True)
class Parameters:
    """See :class:`onnxcomp.report.size.Parameters`."""

    __pydantic_config__ = LENIENT

    total: Count
    nonzero: Count
    nonzero_int8: Count


@dataclass(frozen=True)
class Latency:
    """See :class:`onnxcomp.parity.latency.Latency`; milliseconds."""

    __pydantic_config__ = LENIENT

    median: Number
    p99: Number | None = None
    threads: Count | None = None
    batch: Count = 1
    provider: str = "cpu"


@dataclass(frozen=True)
class Evaluation:
    """See :class:`onnxcomp.report.evaluation.Evaluation`."""

    __pydantic_config__ = LENIENT

    accuracy: Accuracy
    file: Size
    parameters: Parameters
    macs: Count | None = None
    latency: Latency | None = None


@dataclass(frozen=True)
class Row:
    """A network: its name in the table, its file's and what was measured."""

    __pydantic_config__ = LENIENT

    name: str
    file: str
    evaluation: Evaluation


@dataclass(frozen=True)
class Results:
    """All of the file."""

    __pydantic_config__ = LENIENT

    recipe: str
    rows: tuple[Row, ...]


def read(path: Path) -> Results:
    """Read the file.

    Raises:
        DamagedError: it cannot be read, or is not what compress writes.
    """
    found: Results = parse(TypeAdapter(Results), path)
    for row in found.rows:
        if Path(row.file).name != row.file or row.file in ("", ".", ".."):
            raise DamagedError(f"names a file of another folder, {row.file[:60]!r}", where=str(path))
    return found


def parse(kind: TypeAdapter[Any], path: Path) -> Any:
    """The content of a JSON file as a value of a type.

    Raises:
        DamagedError: it cannot be read, or is not of the type.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DamagedError(f"has more than {MAX_BYTES:,} bytes", where=str(path))
        return kind.validate_json(path.read_bytes())
    except OSError as error:
        raise DamagedError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DamagedError(
            f"is damaged ({place + ': ' if place else ''}{first['msg']})", where=str(path)
        ) from error
