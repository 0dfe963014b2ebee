"""What lies in a run directory of ``compress``, ``train`` or ``demo``, complete or not."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxcomp import provenance, recipe, recipe_file
from onnxcomp.compress import BASELINE, COMPRESSED, DENSE, DEPLOYABLE, RECIPE, RESULTS, TRAINED
from onnxcomp.errors import OnnxcompError
from onnxcomp.page import found, metrics, network, results
from onnxcomp.page.metrics import Training
from onnxcomp.page.network import Network
from onnxcomp.visible import visible

NETWORKS = (DENSE, COMPRESSED, TRAINED, DEPLOYABLE)
DEMO_ORDER = ("dense", "pruned", "int8", "distilled")
WORDS = {"channels": "channels cut", "prune": "pruned", "qat": "INT8", "distill": "distilled"}


class NotARunError(OnnxcompError):
    """A folder in which no run can be found."""


@dataclass(frozen=True)
class Run:
    """One run directory.

    Attributes:
        label: the folder as the user named it.
        recipe: text of its passes, "" for none or where it is not known.
        networks: dense, dense trained on, compressed: those that are there.
        trainings: in order.
        origin: what ``run.json`` says; empty without one.
        files: SHA-256 of the files by name.
        found: sensitivities and profiles beside them.
        problems: what is missing or damaged, a line each.
    """

    label: str
    recipe: str
    networks: tuple[Network, ...]
    trainings: tuple[Training, ...]
    origin: Mapping[str, Any]
    files: Mapping[str, str]
    found: found.Found
    problems: tuple[str, ...]


def expand(path: Path) -> list[Path]:
    """The runs in a folder: itself, or those directly in it, the demo's in the order of its table.

    Raises:
        NotARunError: there is none.
    """
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "there is no such folder"
        raise NotARunError(what, where=str(path), fix="give the --run-dir of compress, train or demo")
    if _is_run(path):
        return [path]
    inner = [entry for entry in sorted(path.iterdir()) if entry.is_dir() and _is_run(entry)]
    if not inner:
        raise NotARunError(
            "holds no run", where=str(path), fix="give the --run-dir of onnxcomp compress, train or demo"
        )
    order = {name: index for index, name in enumerate(DEMO_ORDER)}
    return sorted(inner, key=lambda entry: (order.get(entry.name, len(order)), entry.name))


def read(path: Path, label: str, step: Callable[[], None] = lambda: None) -> Run:
    """All that can be read of one run.

    Args:
        step: called after each file that takes a while.
    """
    if metrics.is_training(path):
        training = metrics.read(path, label)
        origin = provenance.read(path)
        problems = training.problems if origin else (*training.problems, _no_origin(label))
        return Run(label, "", (), (training,), origin, {}, found.in_folder(path, label), problems)
    return _compression(path, label, step)


def steps(path: Path) -> int:
    """How many times :func:`read` calls ``step``."""
    return (
        0
        if metrics.is_training(path)
        else sum((path / name).is_file() for name in (DENSE, BASELINE, DEPLOYABLE))
    )


def _is_run(path: Path) -> bool:
    names = (*NETWORKS, BASELINE, RESULTS, RECIPE, provenance.NAME)
    return metrics.is_training(path) or any((path / name).is_file() for name in names)


def _compression(path: Path, label: str, step: Callable[[], None]) -> Run:
    problems: list[str] = []
    origin = provenance.read(path)
    if not origin:
        problems.append(_no_origin(label))
    measured = _results(path, label, problems)
    text = _recipe(path, measured, origin, problems)
    target = _target(measured, origin)
    networks = list(_networks(path, label, text, target, measured, problems, step))
    trainings = [
        metrics.read(path / name, f"{label}/{name}")
        for name in ("baseline", "training")
        if metrics.is_training(path / name)
    ]
    missing = [name for name in NETWORKS if not (path / name).is_file()]
    if missing:
        problems.append(f"{label}: there is no {', '.join(missing)}: the run was stopped before it was done")
    beside = found.in_folder(path, label)
    for training in trainings:
        problems += training.problems
    known = {item.path.name: item.digest for item in networks}
    return Run(
        label=label,
        recipe=text,
        networks=tuple(networks),
        trainings=tuple(trainings),
        origin=origin,
        files=known,
        found=beside,
        problems=(*problems, *_changed(label, origin, known), *beside.problems),
    )


def _results(path: Path, label: str, problems: list[str]) -> results.Results | None:
    if not (path / RESULTS).is_file():
        problems.append(f"{label}: there is no {RESULTS}: accuracy and latency were not measured yet")
        return None
    try:
        return results.read(path / RESULTS)
    except OnnxcompError as error:
        problems.append(str(error))
        return None


def _recipe(
    path: Path, measured: results.Results | None, origin: Mapping[str, Any], problems: list[str]
) -> str:
    """The text of the passes, from where it can be had."""
    if measured is not None:
        return measured.recipe
    if (path / RECIPE).is_file():
        try:
            return str(recipe_file.load(path / RECIPE))
        except OnnxcompError as error:
            problems.append(str(error))
    told = origin.get("recipe")
    return told if isinstance(told, str) else ""


def _target(measured: results.Results | None, origin: Mapping[str, Any]) -> str:
    """What the deployable file is for; runs before run.json said it in the name of the row."""
    told = origin.get("target")
    if isinstance(told, str) and told:
        return told
    rows = [row for row in measured.rows if row.file == DEPLOYABLE] if measured else []
    return rows[-1].name.rpartition(", ")[2] if rows and ", " in rows[-1].name else "unknown"


def _networks(
    path: Path,
    label: str,
    text: str,
    target: str,
    measured: results.Results | None,
    problems: list[str],
    step: Callable[[], None],
) -> Iterator[Network]:
    rows = {row.file: row.evaluation for row in measured.rows} if measured else {}
    for name, words in (
        (DENSE, "dense, as given"),
        (BASELINE, "dense, trained on"),
        (DEPLOYABLE, name_of(text)),
    ):
        if not (path / name).is_file():
            continue
        source = path / (TRAINED if name == DEPLOYABLE else name)
        try:
            one, more = network.read(
                path / name,
                words,
                label,
                target=target if name == DEPLOYABLE else "",
                source=source if source.is_file() else None,
                measured=rows.get(name),
            )
        except OnnxcompError as error:
            problems.append(str(error))
            continue
        finally:
            step()
        problems += more
        yield one


def name_of(text: str, before: Sequence[str] = ()) -> str:
    """What a recipe's network is called: "pruned + INT8", or "+ INT8" where ``before`` has the rest."""
    passes = passes_of(text)
    if not passes:
        return "compressed"
    if before and tuple(passes[:-1]) == tuple(before):
        return f"+ {WORDS.get(passes[-1], passes[-1])}"
    return " + ".join(WORDS.get(name, visible(name)) for name in passes)


def passes_of(text: str) -> list[str]:
    """Names of the passes; none where the text is no recipe. An older one may have options that went."""
    try:
        return [step.name for step in recipe.parse(text).passes] if text else []
    except OnnxcompError:
        names = re.sub(r"\{[^{}]*\}", "", text).split(",")
        return names if all(name in WORDS for name in names) else []


def _changed(label: str, origin: Mapping[str, Any], known: Mapping[str, str]) -> list[str]:
    """Files that are not what the run said that it wrote."""
    told = origin.get("outputs")
    made = told if isinstance(told, dict) else {}
    return [
        f"{label}/{name}: was changed after the run wrote it (its SHA-256 is another)"
        for name, digest in known.items()
        if name in made and made[name] != digest
    ]


def _no_origin(label: str) -> str:
    return f"{label}: there is no {provenance.NAME} that says by which command and versions it was made"
