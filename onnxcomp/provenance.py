"""``run.json``: by which commands, versions and inputs a run directory came to be.

It stands beside what a run makes and decides nothing: it holds dates, and a run goes on without it.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from onnxcomp import __version__, extras, files
from onnxcomp.data import DataSet
from onnxcomp.runtime import default_threads
from onnxcomp.training.identity import describe

NAME = "run.json"
FORMAT = "onnxcomp run 1"
PACKAGES = ("numpy", "onnx", "onnx-graphsurgeon", "Pillow", "polygraphy")


@dataclass(frozen=True)
class Origin:
    """What a command was asked.

    Attributes:
        command: its words, as a shell takes them; none where no command line was given.
        inputs: files that decide the result, such as the network.
    """

    command: tuple[str, ...] = ()
    inputs: tuple[Path, ...] = ()

    @classmethod
    def of(cls, words: Iterable[str], *inputs: Path) -> Origin:
        """From the words after ``onnxcomp``; ``--resume`` is no part of what makes the same again."""
        return cls(("onnxcomp", *(word for word in words if word != "--resume")), inputs)


def begin(folder: Path, origin: Origin, data: DataSet, *, started: str = "", **about: str) -> None:
    """Write ``run.json`` into a folder that a run begins to work in, or goes on in.

    The commands and dates of earlier sessions stay.

    Args:
        started: when; now, if it is not said.
        about: what else is to be known, such as the recipe and the target.

    Raises:
        OnnxcompError: it cannot be written, or an input is gone.
    """
    earlier = read(folder)
    before, inputs = earlier.get("sessions"), earlier.get("inputs")
    sessions: list[Any] = list(before) if isinstance(before, list) else []
    known: dict[str, Any] = dict(inputs) if isinstance(inputs, dict) else {}
    sessions.append({"command": list(origin.command), "started": started or now()})
    found = {
        "format": FORMAT,
        **about,
        # A description looks at the training images: for the test images let them stand there.
        "data": {"train": describe(data), "test": describe(replace(data, train=data.test))},
        # A teacher whose file is gone by now was read in an earlier session.
        "inputs": {
            name: known[name] if name in known and not Path(name).is_file() else digests(Path(name))
            for name in map(str, origin.inputs)
        },
        "versions": versions(),
        "machine": machine(),
        "sessions": sessions,
    }
    _write(folder, found)


@contextmanager
def recorded(folder: Path, origin: Origin, data: DataSet) -> Iterator[None]:
    """Write ``run.json`` after a training, which makes its folder itself; also after one that was stopped.

    Raises:
        OnnxcompError: as :func:`begin`.
    """
    started = now()

    def record() -> None:
        if (folder / "config.json").exists():
            begin(folder, origin, data, started=started)

    try:
        yield
    except KeyboardInterrupt:
        record()
        raise
    record()


def finish(folder: Path, outputs: Iterable[Path]) -> None:
    """Add what the run made.

    Raises:
        OnnxcompError: it cannot be written, or an output is gone.
    """
    made = {path.name: files.sha256(path) for path in outputs}
    _write(folder, {**read(folder), "outputs": made, "finished": now()})


def read(folder: Path) -> dict[str, Any]:
    """What ``run.json`` says; nothing where there is none, or it is damaged."""
    try:
        found = json.loads((folder / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("format") == FORMAT else {}


def digests(path: Path) -> dict[str, str]:
    """SHA-256 of an ONNX file and of the files that hold its weights, by their names."""
    import onnx

    proto = onnx.load_model(path, load_external_data=False)
    entries = (entry for tensor in proto.graph.initializer for entry in tensor.external_data)
    beside = sorted({entry.value for entry in entries if entry.key == "location"})
    return {path.name: files.sha256(path), **{name: files.sha256(path.parent / name) for name in beside}}


def versions() -> dict[str, str]:
    """Of what decides a result: Python, onnxcomp, its packages and ONNX Runtime."""
    found = {"python": platform.python_version(), "onnxcomp": __version__}
    for name in (*PACKAGES, *extras.installed_runtimes()):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """The processor that measured the latency, and how many of its cores may be used."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        name = next(named, name)
    cores = default_threads()
    return f"{platform.system()}, {name}, {cores} core{'s'[: cores > 1]}"


def now() -> str:
    """The time as ``run.json`` has it."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _write(folder: Path, found: Mapping[str, Any]) -> None:
    with files.atomic_path(folder / NAME) as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
