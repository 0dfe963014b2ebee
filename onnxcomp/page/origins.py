"""What is needed to make a run again: commands, versions, digests."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from onnxcomp.page.report import Report
from onnxcomp.page.runs import Run
from onnxcomp.visible import visible


@dataclass(frozen=True)
class Origin:
    """Of one run, or of several that one command made.

    Attributes:
        title: the runs.
        commands: as a shell takes them.
        facts: pairs of what and value.
        files: pairs of file and SHA-256.
    """

    title: str
    commands: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    files: tuple[tuple[str, str], ...]


def origins(report: Report) -> list[Origin]:
    """In the order of the runs; those of one command, versions and data together."""
    groups: dict[object, list[Run]] = {}
    for run in report.runs:
        groups.setdefault((_commands(run), _common(run.origin)), []).append(run)
    return [
        Origin(
            title=", ".join(run.label for run in members),
            commands=key[0],
            facts=(*_facts(members), *key[1]),
            files=tuple(pair for run in members for pair in _files(run, named=len(members) > 1)),
        )
        for key, members in _typed(groups)
    ]


def _typed(groups: Mapping[object, list[Run]]) -> Iterable[tuple[Any, list[Run]]]:
    return groups.items()


def _commands(run: Run) -> tuple[str, ...]:
    found: list[str] = []
    for session in _list(run.origin.get("sessions")):
        words = _list(session.get("command")) if isinstance(session, dict) else []
        if words and all(isinstance(word, str) for word in words):
            found.append(visible(shlex.join(words)))
    return tuple(dict.fromkeys(found))


def _facts(runs: Iterable[Run]) -> list[tuple[str, str]]:
    found = []
    for run in runs:
        if run.recipe:
            found.append((f"recipe of {run.label}", visible(run.recipe)))
        if isinstance(target := run.origin.get("target"), str):
            found.append((f"target of {run.label}", visible(target)))
    return found


def _common(origin: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """What runs of one command share."""
    found = []
    if isinstance(origin.get("machine"), str):
        found.append(("machine", origin["machine"]))
    for kind, text in _table(origin.get("data")).items():
        found.append((f"{kind}ing images" if kind == "train" else f"{kind} images", str(text)))
    versions = _table(origin.get("versions"))
    if versions:
        found.append(("versions", ", ".join(f"{name} {version}" for name, version in versions.items())))
    return tuple((visible(name), visible(text)) for name, text in found)


def _files(run: Run, *, named: bool) -> Iterable[tuple[str, str]]:
    """Inputs, what the run wrote, and what lies there now where the run did not say."""
    for path, files in _table(run.origin.get("inputs")).items():
        for name, digest in _table(files).items():
            given = path if path.endswith(name) else f"{path} ({name})"
            yield visible(f"{given} (input)"), visible(str(digest))
    made = {**run.files, **{str(k): str(v) for k, v in _table(run.origin.get("outputs")).items()}}
    for name, digest in sorted(made.items()):
        yield visible(f"{run.label}/{name}" if named else name), visible(digest)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
