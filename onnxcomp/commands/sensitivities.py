"""What the forms of ``onnxcomp sensitivity`` share: open, measure, write, show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import click

from onnxcomp.commands import options
from onnxcomp.data import DataSet
from onnxcomp.model import Model
from onnxcomp.report import console
from onnxcomp.sensitivity.points import Points, Split

LISTED = 10


@dataclass(frozen=True)
class Asked:
    """What is measured, and on what."""

    path: Path
    model: Model
    data: DataSet
    images: int
    split: Split
    threads: int
    root: Path


class Work(Protocol):
    """The sensitivity to one pass."""

    def open(self, asked: Asked) -> Points[Any]:
        """Check everything and look into the cache."""

    def fill(self, progress: Callable[[float], None]) -> None:
        """Measure what is missing."""

    def prepare(self) -> None:
        """What is needed before, with bars of its own."""

    def finish(self) -> None:
        """What comes after all is measured."""

    def write(self, output: Path | None, plot: Path | None) -> None:
        """The files that are wanted."""

    def json(self) -> Mapping[str, Any]:
        """The result."""

    def show(self, output: Path | None) -> None:
        """The result in a table."""


def run(work: Work, asked: Asked, output: Path | None, plot: Path | None, *, as_json: bool) -> None:
    """From the network to files and table."""
    with options.about(asked.path) as shown:
        shown(asked.model)
        points = work.open(asked)
        with options.resumable(resume=True):  # the cache is what the same words go on from
            _measure(work, points)
            work.finish()
    work.write(output, plot)
    if as_json:
        click.echo(console.to_json(work.json()))
        return
    work.show(output)
    if output is not None:
        click.echo(f"wrote {output}")


def _measure(work: Work, points: Points[Any]) -> None:
    """Fill in what is missing, and tell how far it is."""
    if points.damaged:
        first, count = points.damaged[0], len(points.damaged)
        click.echo(
            f"{count} damaged in the cache, measured anew: {first}{' ...' if count > 1 else ''}", err=True
        )
    missing, total = len(points.missing), len(points.places)
    if not missing:
        click.echo(f"all {total} points are known: {points.cache.folder}", err=True)
        return
    work.prepare()
    with console.progress(f"measuring {missing} of {total} points, %", 100) as advance:
        shown = 0

        def tell(share: float) -> None:
            nonlocal shown
            percent = int(100 * share)
            if percent > shown:
                advance(percent - shown)
                shown = percent

        work.fill(tell)


def say_more(count: int, output: Path | None) -> None:
    """How many layers a table leaves out."""
    more = count - LISTED
    if more > 0:
        click.echo(f"and {more} more" + ("" if output else " (-o writes all)"))
