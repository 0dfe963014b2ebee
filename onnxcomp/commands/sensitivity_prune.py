"""``onnxcomp sensitivity --pass prune``: each layer pruned alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from onnxcomp.commands.sensitivities import LISTED, Asked, say_more
from onnxcomp.report import console
from onnxcomp.sensitivity.points import Points
from onnxcomp.sensitivity.prune import curves, plot
from onnxcomp.sensitivity.prune.alone import Alone
from onnxcomp.sensitivity.prune.curves import Curves
from onnxcomp.sensitivity.prune.measure import Measurement, open_measurement
from onnxcomp.sensitivity.prune.way import Way, read_sparsities
from onnxcomp.visible import visible


def read(sparsities: str | None, criterion: str, pattern: str, exclude: tuple[str, ...]) -> Pruning:
    """The options of the command line.

    Raises:
        OnnxcompError: one of them is wrong.
    """
    shares = () if sparsities is None else read_sparsities(sparsities)
    return Pruning(Way(criterion, pattern, shares, exclude))


class Pruning:
    """See :class:`onnxcomp.commands.sensitivities.Work`."""

    _asked: Asked
    _measurement: Measurement
    _alone: Alone

    def __init__(self, way: Way) -> None:
        self._way = way

    def open(self, asked: Asked) -> Points[Any]:
        self._asked = asked
        self._measurement = open_measurement(
            asked.model, asked.data, self._way, images=asked.images, split=asked.split, root=asked.root
        )
        return self._measurement.points

    def prepare(self) -> None:
        with console.bars("preparing") as show:
            self._alone = self._measurement.prepare(threads=self._asked.threads, show=show)

    def fill(self, progress: Callable[[float], None]) -> None:
        self._measurement.fill(self._alone, threads=self._asked.threads, progress=progress)

    def finish(self) -> None:
        """Nothing more is asked."""

    def write(self, output: Path | None, picture: Path | None) -> None:
        found = self._measurement.curves()
        if output is not None:
            curves.save(found, output)
        if picture is not None:
            plot.draw(found, picture)

    def json(self) -> Mapping[str, Any]:
        return curves.to_json(self._measurement.curves())

    def show(self, output: Path | None) -> None:
        found = self._measurement.curves()
        console.table(*_table(self._asked.path, found))
        say_more(len(found.layers), output)
        for name, reason in found.left.items():
            if reason:
                click.echo(f"left out: {visible(name)} ({visible(reason)})")


def _table(path: Path, found: Curves) -> tuple[str, list[str], list[list[str]]]:
    """The most sensitive layers: points of top-1 accuracy lost at each sparsity."""
    title = (
        f"{path}: points of top-1 lost by pruning one layer"
        f" ({found.images:,} {found.data}; dense {found.dense.top1:.2f} %)"
    )
    columns = ["most sensitive", *(f"{100 * share:g} %" for share in found.sparsities), "loss rises by"]
    rows = [
        [name, *(f"{found.drop(name, share):.2f}" for share in found.sparsities), f"{found.rise(name):.4f}"]
        for name in found.by_sensitivity()[:LISTED]
    ]
    return title, columns, rows
