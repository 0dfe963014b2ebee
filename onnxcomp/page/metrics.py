"""One training of a run: its ``metrics.jsonl`` and ``config.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxcomp.page.results import MAX_BYTES
from onnxcomp.training.metrics.scalars import scalars

CONFIG, METRICS = "config.json", "metrics.jsonl"
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Stage:
    """Steps over which the losses are the same.

    Attributes:
        first, last: steps.
        losses: their names.
    """

    first: float
    last: float
    losses: tuple[str, ...]


@dataclass(frozen=True)
class Training:
    """What one training said of itself.

    Attributes:
        label: its folder, as the report calls it.
        settings: of ``config.json``; empty where that is gone.
        series: points of (step, value) by ``group/name``, as the curves call them: ``loss/total``,
            ``accuracy/test`` in percent, ``lr``, ``sparsity`` as a share.
        stages: in order.
        steps, epochs: done, as far as the metrics say.
        problems: what is missing or damaged, a line each.
    """

    label: str
    settings: Mapping[str, Any]
    series: Mapping[str, Points]
    stages: tuple[Stage, ...]
    steps: int
    epochs: float
    problems: tuple[str, ...]

    def last(self, name: str) -> float | None:
        """The last value of a series."""
        points = self.series.get(name)
        return points[-1][1] if points else None


def is_training(folder: Path) -> bool:
    """Whether a training wrote this folder."""
    return (folder / CONFIG).is_file() and ((folder / METRICS).is_file() or (folder / "checkpoints").is_dir())


def read(folder: Path, label: str) -> Training:
    """All that can be read of a training; what cannot is among its problems."""
    settings, problems = _settings(folder / CONFIG)
    records, damaged = _records(folder / METRICS)
    problems += damaged
    series: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, value in _numbers(record).items():
            series.setdefault(name, []).append((float(record["step"]), value))
    last = records[-1] if records else {}
    epochs = float(last["epoch"]) if isinstance(last.get("epoch"), int | float) else 0.0
    asked = settings.get("epochs")
    steps = int(last.get("step", 0))
    a_step = epochs / max(1, steps)  # a run has a whole number of steps: the nearest
    if isinstance(asked, int | float) and epochs < asked - 0.6 * a_step:
        problems.append(f"the training stopped at epoch {epochs:.2f} of {asked:g}; its metrics end there")
    return Training(
        label=label,
        settings=settings,
        series={name: tuple(points) for name, points in series.items()},
        stages=_stages(records),
        steps=steps,
        epochs=epochs,
        problems=tuple(f"{label}: {problem}" for problem in problems),
    )


def _settings(path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}, [f"{CONFIG} is damaged"]
    return (found, []) if isinstance(found, dict) else ({}, [f"{CONFIG} is damaged"])


def _records(path: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """The good lines, and what is wrong with the file."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return [], [f"{METRICS} has more than {MAX_BYTES:,} bytes"]
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return [], [f"there is no {METRICS}: no step was logged"]
    records = [record for line in lines if line for record in _record(line)]
    bad = sum(bool(line) for line in lines) - len(records)
    return records, [f"{METRICS}: {bad} damaged line{'s'[: bad > 1]} left out"] if bad else []


def _record(line: bytes) -> list[dict[str, Any]]:
    try:
        record = json.loads(line)
        return [record] if type(record["step"]) is int and 0 <= record["step"] < 2**53 else []
    except (ValueError, KeyError, TypeError, RecursionError):
        return []


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    sane = {name: value for name, value in record.items() if not isinstance(value, int) or abs(value) < 2**53}
    return {name: value for name, value in scalars(sane).items() if math.isfinite(value)}


def _stages(records: list[dict[str, Any]]) -> tuple[Stage, ...]:
    """Where the losses change a stage begins."""
    found: list[Stage] = []
    for record in records:
        losses = tuple(sorted(name.removeprefix("loss/") for name in record if name.startswith("loss/")))
        step = float(record["step"])
        if not losses:
            continue
        if found and found[-1].losses == losses:
            found[-1] = Stage(found[-1].first, step, losses)
        else:
            found.append(Stage(found[-1].last if found else 0.0, step, losses))
    return tuple(found)
