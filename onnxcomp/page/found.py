"""Sensitivities and profiles that were kept as JSON: those that are named, and those in a run directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from onnxcomp.deploy.profile.profile import FORMAT as PROFILE
from onnxcomp.deploy.profile.profile import Profile
from onnxcomp.errors import OnnxcompError
from onnxcomp.page.results import MAX_BYTES, DamagedError, parse
from onnxcomp.page.text import UNKNOWN, figure
from onnxcomp.sensitivity.prune.curves import FORMAT as PRUNE
from onnxcomp.sensitivity.prune.curves import Curves
from onnxcomp.sensitivity.qat.effects import FORMAT as QAT
from onnxcomp.sensitivity.qat.effects import Effects
from onnxcomp.visible import visible


@dataclass(frozen=True)
class Sensitivity:
    """What compressing one layer alone costs.

    Attributes:
        title: what was measured.
        unit: of the scores.
        ascending: whether the lowest score is the most sensitive layer.
        scores: by layer, in graph order; infinite where nothing changes.
        columns, rows: a table, the most sensitive layer first.
    """

    title: str
    unit: str
    ascending: bool
    scores: Mapping[str, float]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Profiled:
    """A profile, and the file that it lies in, as the report calls it."""

    label: str
    profile: Profile


@dataclass
class Found:
    """What was found, and what could not be read, a line each."""

    sensitivities: list[Sensitivity]
    profiles: list[Profiled]
    problems: list[str]


def sensitivity(path: Path) -> Sensitivity:
    """Read what ``onnxcomp sensitivity -o`` wrote.

    Raises:
        OnnxcompError: it is something else, or damaged.
    """
    kind = _format(path)
    if kind == PRUNE:
        return _pruned(parse(TypeAdapter(Curves), path))
    if kind == QAT:
        return _quantised(_effects(path))
    raise DamagedError("holds no sensitivity", where=str(path), fix="give what onnxcomp sensitivity -o wrote")


def in_folder(folder: Path, label: str) -> Found:
    """Look at each JSON file that lies directly in ``folder``, in the order of the names."""
    found = Found([], [], [])
    readers: dict[str, Callable[[Path], None]] = {
        PRUNE: lambda path: found.sensitivities.append(sensitivity(path)),
        QAT: lambda path: found.sensitivities.append(sensitivity(path)),
        PROFILE: lambda path: found.profiles.append(Profiled(f"{label}/{path.name}", Profile.load(path))),
    }
    for path in sorted(folder.glob("*.json")):
        if path.is_file():
            try:
                read = readers.get(_format(path))
                if read is not None:
                    read(path)
            except OnnxcompError as error:
                found.problems.append(str(error))
    return found


def _format(path: Path) -> str:
    """What a JSON file says it is; "" where it does not.

    Raises:
        DamagedError: it cannot be read.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            return ""
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise DamagedError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except (ValueError, RecursionError) as error:
        raise DamagedError("is no JSON", where=str(path)) from error
    kind = content.get("format") if isinstance(content, dict) else None
    return kind if isinstance(kind, str) else ""


def _effects(path: Path) -> Effects:
    content = json.loads(path.read_bytes())
    content["dense"] = content.pop("float", None)
    try:
        found: Effects = TypeAdapter(Effects).validate_python(content)
    except ValueError as error:
        raise DamagedError("is damaged", where=str(path)) from error
    return found


def _pruned(found: Curves) -> Sensitivity:
    shares = found.sparsities
    columns = (
        "layer",
        *(f"{100 * share:g} % zeros: points of top-1 lost" for share in shares),
        "loss rises by",
    )
    names = [name for name in found.layers if found.layers[name]]
    ordered = sorted(names, key=lambda name: -found.rise(name))
    rows = tuple(
        (
            visible(name),
            *(f"{found.drop(name, s):.2f}" if s in found.layers[name] else UNKNOWN for s in shares),
            f"{found.rise(name):.4f}",
        )
        for name in ordered
    )
    return Sensitivity(
        title=f"Pruning one layer alone ({found.criterion}, {found.pattern}; {found.images:,} {found.data})",
        unit="rise of the loss, nats, mean over the sparsities",
        ascending=False,
        scores={visible(name): found.rise(name) for name in names},
        columns=columns,
        rows=rows,
    )


def _quantised(found: Effects) -> Sensitivity:
    rows = tuple(
        (
            visible(name),
            figure(found.layers[name].alone.decibels),
            f"{found.drop(found.layers[name].alone):.2f}",
            figure(found.layers[name].left.decibels),
            f"{found.drop(found.layers[name].left):.2f}",
        )
        for name in found.by_sensitivity()
    )
    return Sensitivity(
        title=f"One layer alone in INT8 ({found.images:,} {found.data})",
        unit="SQNR of the logits, dB; the lowest is the most sensitive",
        ascending=True,
        scores={visible(name): effect.alone.decibels for name, effect in found.layers.items()},
        columns=("layer", "alone in INT8: SQNR, dB", "top-1 lost", "left float: SQNR, dB", "top-1 lost"),
        rows=rows,
    )


def profile_lines(found: Profiled) -> list[str]:
    """What was measured, under what conditions."""
    from onnxcomp.deploy.profile import rows

    lines = [rows.title(found.profile), *rows.times(found.profile), *rows.coverage(found.profile)]
    return [visible(line) for line in lines]


def latency_of(profile: Profile) -> float | None:
    """Milliseconds of a query, the median where it is known."""
    if profile.summary is None:
        return None
    times = profile.summary.latency or profile.summary.gpu
    if times is None:
        return None
    return times.mean if times.median is None else times.median
