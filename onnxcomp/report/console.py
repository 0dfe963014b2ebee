"""Printing for people: tables on stdout, progress on stderr, plain text where there is no terminal.

rich honours ``NO_COLOR`` and ``COLUMNS``; where the output is a pipe or a file nothing is coloured, cut
or wrapped, so that ``grep`` and ``awk`` work.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from onnxcomp.visible import visible

NUMBER = re.compile(r"-|[-+]?[\d,.]+(e[-+]?\d+)?( ?(%|ms|s|B|kB|MB|GB|K|M|G|dB|points))?|inf|nan")
MIN_NAME_WIDTH, MAX_UNWRAPPED_WIDTH = 24, 32
GAP = 3  # between two columns: a space on each side of a separator
PLAIN_SECONDS = 30.0
SHORT_SECONDS = 0.5  # what is done by then needs no spinner


def console(*, stderr: bool = False) -> Console:
    """A console on the current stdout or stderr.

    ``CI`` and ``TERM=dumb`` make it one that is no terminal; ``NO_COLOR`` leaves bars, and no style of text.
    """
    if os.environ.get("CI", "").lower() not in ("", "0", "false") or os.environ.get("TERM") == "dumb":
        return Console(stderr=stderr, highlight=False, force_terminal=False)
    if os.environ.get("NO_COLOR"):
        return Console(stderr=stderr, highlight=False, color_system=None)
    return Console(stderr=stderr, highlight=False)


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    optional: Sequence[str] = (),
) -> None:
    """Print a table to stdout.

    Columns of numbers are set flush right. The first column folds over lines where the terminal is narrow;
    before that the ``optional`` columns are left out, first named first. Where the others still do not fit
    they are printed as without a terminal, which wraps the lines: no number is cut.

    Args:
        title: one line above the table, ``""`` for none.
        columns: headings; the first column holds names.
        rows: cells, written with ``str``, control characters as escapes (:mod:`onnxcomp.visible`).
        optional: headings that may be left out.
    """
    out = console()
    title, cells = visible(title), [[visible(str(cell)) for cell in row] for row in rows]
    if not out.is_terminal:
        _print_plain(out, title, columns, cells)
        return
    kept = _fitting(columns, cells, optional, out.width)
    if _least_width(columns, cells, kept) > out.width:
        _print_plain(out, title, columns, cells)
        return
    layout = Table(title=title or None, box=box.SIMPLE_HEAD, title_justify="left")
    for index in kept:
        column = [row[index] for row in cells]
        layout.add_column(
            Text(columns[index]),
            justify="right" if _numeric(column) else "left",
            overflow="fold",
            no_wrap=index > 0 and _width(columns[index], column) <= MAX_UNWRAPPED_WIDTH,
            min_width=min(MIN_NAME_WIDTH, _width(columns[index], column)) if index == 0 else None,
        )
    for row in cells:
        layout.add_row(*(Text(row[index]) for index in kept))
    out.print(layout)
    left_out = [name for index, name in enumerate(columns) if index not in kept]
    if left_out:
        out.print(Text(f"Left out on {out.width} columns: {', '.join(left_out)} (--json has them)"))


def _print_plain(out: Console, title: str, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    lines = [title] if title else []
    by_column = [[row[index] for row in cells] for index in range(len(columns))]
    widths = [_width(name, column) for name, column in zip(columns, by_column, strict=True)]
    right = [_numeric(column) for column in by_column]
    for row in (columns, *cells):
        padded = (
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        )
        lines.append("  ".join(padded).rstrip())
    out.file.write("\n".join(lines) + "\n")


def _fitting(
    columns: Sequence[str], cells: Sequence[Sequence[str]], optional: Sequence[str], width: int
) -> list[int]:
    """Indices of the columns to print so that the first one keeps a readable width."""
    widths = [_width(name, [row[index] for row in cells]) for index, name in enumerate(columns)]
    widths[0] = min(widths[0], MIN_NAME_WIDTH)
    kept = list(range(len(columns)))
    for name in optional:
        if sum(widths[index] + GAP for index in kept) + 1 <= width:
            break
        kept.remove(columns.index(name))
    return kept


def _least_width(columns: Sequence[str], cells: Sequence[Sequence[str]], kept: Sequence[int]) -> int:
    """The width below which rich would cut a column."""
    widths = [_width(columns[index], [row[index] for row in cells]) for index in kept]
    least = [min(widths[0], MIN_NAME_WIDTH), *(0 if w > MAX_UNWRAPPED_WIDTH else w for w in widths[1:])]
    return sum(least) + GAP * len(least) + 1


def _width(name: str, column: Sequence[str]) -> int:
    return max(len(text) for text in (name, *column))


def _numeric(column: Sequence[str]) -> bool:
    return bool(column) and all(NUMBER.fullmatch(text) for text in column)


@contextmanager
def progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a long step is, on stderr; yields ``advance(count)``.

    On a terminal it is a bar that disappears when done; elsewhere a line twice a minute and one at the end.
    """
    out = console(stderr=True)
    if out.is_terminal:
        with _progress(out) as shown:
            task = shown.add_task(description, total=total)
            yield lambda count: shown.advance(task, count)
        return
    start = told = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, told
        done += count
        now = time.monotonic()
        if done >= total or now - told > PLAIN_SECONDS:
            out.file.write(f"{description}: {done}/{total} in {now - start:.1f} s\n")
            told = now

    yield advance


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on stderr that something is being done, and since when: on a terminal, unless it is short."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    shown = Progress(*columns, console=out, transient=True)
    shown.add_task(what, total=None)
    late = threading.Timer(SHORT_SECONDS, shown.start)
    late.daemon = True
    late.start()
    try:
        yield
    finally:
        late.cancel()
        late.join()
        shown.stop()


@contextmanager
def bars(what: str = "") -> Iterator[Callable[[str, int, int], None]]:
    """Show on stderr how far steps are that may be long or not come at all; nothing without a terminal.

    Args:
        what: shown from the beginning, for what is done between the steps.

    Yields ``show(description, done, total)``: a bar appears with the first call that names it.
    """
    out = console(stderr=True)
    if not out.is_terminal:
        yield lambda description, done, total: None
        return
    tasks: dict[str, TaskID] = {}
    with _progress(out) as shown:
        if what:
            shown.add_task(what, total=None)

        def show(description: str, done: int, total: int) -> None:
            if description not in tasks:
                tasks[description] = shown.add_task(description, total=total)
            shown.update(tasks[description], completed=done, total=total)

        yield show


@contextmanager
def status() -> Iterator[Callable[[str], None]]:
    """Show on stderr what is being done, where it is not known how long it takes; nothing without a terminal.

    Yields ``show(what)``.
    """
    out = console(stderr=True)
    if not out.is_terminal:
        yield lambda what: None
        return
    with out.status("") as shown:
        yield lambda what: shown.update(Text(what))


def _progress(out: Console) -> Progress:
    """Bars that disappear when done."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=out, transient=True)


def to_json(value: object) -> str:
    """A dataclass, mapping or sequence as JSON text; NaN and infinity become null."""
    return json.dumps(_plain(value), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    if hasattr(value, "item"):  # a NumPy scalar
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
