"""The report as Markdown, for a pull request. Whatever comes from a file stands in code spans."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from onnxcomp import __version__
from onnxcomp.page import origins, table
from onnxcomp.page.charts.curves import text as curve_text
from onnxcomp.page.found import profile_lines
from onnxcomp.page.report import Report
from onnxcomp.visible import visible

LISTED = 5
"""Rows of a sensitivity."""


def render(report: Report) -> str:
    """The text: the same report gives the same."""
    parts = [*_problems(report), *_networks(report), *_trainings(report), *_sensitivities(report)]
    parts += [*_profiles(report), *_origins(report), f"Written by onnxcomp {__version__}."]
    labels = ", ".join(map(code, report.given))
    return "\n\n".join((f"## Compression report: {labels}", *parts)) + "\n"


def code(text: str) -> str:
    """A code span: what is in it is shown as it is, on one line, also in a table."""
    text = visible(text).replace("|", "\\|") or " "
    fence = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    gap = " " if text[0] == "`" or text[-1] == "`" else ""
    return f"{fence}{gap}{text}{gap}{fence}"


def _problems(report: Report) -> list[str]:
    if not report.problems:
        return []
    return ["**What is missing**\n\n" + "\n".join(f"- {code(line)}" for line in report.problems)]


def _networks(report: Report) -> list[str]:
    rows, names = table.rows(report), table.names(report)
    if not rows:
        return []
    shown = [(*(code(cell) for cell in row[:names]), *row[names:]) for row in rows]
    columns = [_plain(column) for column in table.columns(report)]
    return [_table(columns, shown, names), "\n".join(f"- {_plain(note)}" for note in table.notes(report))]


def _trainings(report: Report) -> list[str]:
    lines = [f"- {code(curve_text(one))}" for run in report.runs for one in run.trainings]
    return ["### Training", "\n".join(lines)] if lines else []


def _sensitivities(report: Report) -> list[str]:
    parts = []
    for one in report.sensitivities:
        rows = [(code(row[0]), *row[1:]) for row in one.rows[:LISTED]]
        columns = ["most sensitive", *one.columns[1:]]
        parts += [f"### Sensitivity\n\n{code(one.title)}", _table(columns, rows, 1)]
    return parts


def _profiles(report: Report) -> list[str]:
    return [
        f"### Profile\n\n{code(one.label)}\n\n" + "\n".join(f"- {code(line)}" for line in profile_lines(one))
        for one in report.profiles
    ]


def _origins(report: Report) -> list[str]:
    parts = ["### Reproduce"]
    for one in origins.origins(report):
        lines = [f"- {code(line)}" for line in one.commands]
        lines += [f"- {name}: {code(value)}" for name, value in _named(one.facts)]
        lines += [f"- {code(digest)} {code(name)}" for name, digest in one.files]
        parts.append(f"{code(one.title)}\n\n" + "\n".join(lines))
    return parts


def _named(facts: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    return ((_plain(name), value) for name, value in facts)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], names: int) -> str:
    rule = ["---"] * names + ["---:"] * (len(columns) - names)
    return "\n".join(f"| {' | '.join(row)} |" for row in (columns, rule, *rows))


def _plain(text: str) -> str:
    """Words of our own that may hold one of a file's: nothing in them is markup."""
    return re.sub(r"([\\`*_\[\]<>|&~])", r"\\\1", text)
