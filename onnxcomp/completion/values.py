"""Values that a shell can offer: passes, their options, targets, data sets, files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from onnxcomp import passes
from onnxcomp.completion.fields import fields

PART = "part"
"""Kind of an item after which something else follows: the shell puts no space behind it."""
CATALOGUE = Path(__file__).parents[1] / "deploy" / "targets" / "catalogue.yaml"
DATA_SETS = ("digits", "cifar10")
DATA_FILES = (".zip", ".npz", ".tar.gz", ".tgz")

Item = CompletionItem[str]


def targets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Item]:
    """Names in the catalogue, and YAML files."""
    text = CATALOGUE.read_text(encoding="utf-8")
    names = re.findall(r"^- name: (\S+)", text, re.MULTILINE)
    return [*_starting(names, incomplete), *_paths(incomplete, (".yaml", ".yml"))]


def data_sets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Item]:
    """Names of data sets, folders and the kinds of file that hold images."""
    return [*_starting(DATA_SETS, incomplete), *_paths(incomplete, DATA_FILES)]


def passes_or_file(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Item]:
    """``[PASSES] MODEL``: a list of passes where that is what comes next, else a file."""
    words = context.params.get("operands") or ()
    if words or context.params.get("recipe_file") is not None:
        return [CompletionItem(incomplete, type="file")]
    return recipe(incomplete)


def recipe(incomplete: str) -> list[Item]:
    """What may follow in ``prune{criterion=obd},qat``: a pass, an option of one or its value."""
    table = passes.available()
    inside = re.fullmatch(r"(.*?)([\w-]+)\{([^{}]*)", incomplete)
    if inside and inside[2] in table:
        before, rest = re.fullmatch(r"(.*[ ,]|)([^ ,]*)", inside[3]).groups()  # type: ignore[union-attr]
        start = f"{inside[1]}{inside[2]}{{{before}"
        return [_behind(start, item) for item in _option(table[inside[2]], rest)]
    done, _, last = incomplete.rpartition(",")
    named = re.findall(r"(?:^|,)([\w-]+)", done)
    start = f"{done}," if done else ""
    return [_behind(start, item) for item in _starting([n for n in table if n not in named], last)]


def settings(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Item]:
    """``PASS.OPTION=VALUE``."""
    table = passes.available()
    name, dot, rest = incomplete.partition(".")
    if not dot:
        return [CompletionItem(f"{one}.", type=PART) for one in table if one.startswith(name)]
    if name not in table:
        return []
    return [_behind(f"{name}.", item) for item in _option(table[name], rest)]


def _option(location: str, incomplete: str) -> list[Item]:
    known = fields(location)
    option, equals, value = incomplete.partition("=")
    if equals:
        return [_behind(f"{option}=", item) for item in _starting(known.get(option, ()), value)]
    return [CompletionItem(f"{name}=", type=PART) for name in known if name.startswith(option)]


def _starting(names: Iterable[str], incomplete: str) -> list[Item]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _behind(start: str, item: Item) -> Item:
    return CompletionItem(f"{start}{item.value}", type=item.type)


def _paths(incomplete: str, suffixes: tuple[str, ...]) -> list[Item]:
    """Folders, and files of these kinds, whose path begins so."""
    folder, _, name = incomplete.rpartition("/")
    place = Path(f"{folder}/" if "/" in incomplete else ".").expanduser()
    if not place.is_dir() or not os.access(place, os.R_OK):
        return []
    start = f"{folder}/" if "/" in incomplete else ""
    found = []
    for entry in sorted(place.iterdir()):
        if not entry.name.startswith(name) or (entry.name.startswith(".") and not name):
            continue
        if entry.is_dir():
            found.append(CompletionItem(f"{start}{entry.name}/", type=PART))
        elif entry.name.lower().endswith(suffixes):
            found.append(CompletionItem(f"{start}{entry.name}"))
    return found
