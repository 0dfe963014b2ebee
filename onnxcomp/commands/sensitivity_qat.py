"""``onnxcomp sensitivity --pass qat``: each layer alone in INT8, and each alone left float."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from onnxcomp import graphs, pipeline, sources
from onnxcomp import recipe as recipes
from onnxcomp.commands.sensitivities import LISTED, Asked, say_more
from onnxcomp.deploy.targets import Target, get_target
from onnxcomp.errors import OnnxcompError
from onnxcomp.model import Model
from onnxcomp.passes.qat import mixed, partial
from onnxcomp.passes.qat.mixed import Choice
from onnxcomp.recipe import Recipe
from onnxcomp.report import console
from onnxcomp.sensitivity.points import Points
from onnxcomp.sensitivity.qat import effects, plot
from onnxcomp.sensitivity.qat.effects import Effects
from onnxcomp.sensitivity.qat.measure import Measurement, check, open_measurement
from onnxcomp.sensitivity.scores import Compared
from onnxcomp.visible import visible


def read(
    settings: tuple[str, ...], target: str | None, calibration_images: int, max_drop: float | None
) -> Quantising:
    """The options of the command line.

    Raises:
        OnnxcompError: one of them is wrong.
    """
    if max_drop is not None:
        mixed.check_max_drop(max_drop)
    recipe = recipes.with_settings(recipes.parse("qat"), settings)
    chosen = None if target is None else get_target(target)
    return Quantising(recipe, chosen, calibration_images, max_drop, changed=bool(settings or target))


class Quantising:
    """See :class:`onnxcomp.commands.sensitivities.Work`."""

    _asked: Asked
    _measurement: Measurement
    _choice: Choice | None = None

    def __init__(
        self, recipe: Recipe, target: Target | None, images: int, max_drop: float | None, *, changed: bool
    ) -> None:
        self._recipe, self._target, self._images, self._max_drop = recipe, target, images, max_drop
        self._changed = changed

    def open(self, asked: Asked) -> Points[Any]:
        self._asked = asked
        self._measurement = open_measurement(
            self._quantised(), asked.data, images=asked.images, split=asked.split, root=asked.root
        )
        return self._measurement.points

    def _quantised(self) -> Model:
        """The network that was given, or if it is float what the pass makes of it."""
        model = self._asked.model
        check(model)
        if any(True for _ in graphs.quantizers(model.graph)):
            if self._changed:
                raise OnnxcompError(
                    "is quantised already", where=model.graph.name, fix="leave out --set and --target"
                )
            return model
        with console.bars("quantising") as show:
            found = self._sources(show)
            return pipeline.apply(
                model,
                self._recipe,
                calibration=found.calibration,
                grams=found.grams,
                gradients=found.gradients,
                placement="tensorrt" if self._target is None else self._target.placement,
            )

    def _sources(self, show: sources.Show) -> sources.Sources:
        asked = self._asked
        return sources.from_data(
            asked.model, asked.data, images=self._images, threads=asked.threads, show=show
        )

    def prepare(self) -> None:
        """Nothing is needed."""

    def fill(self, progress: Callable[[float], None]) -> None:
        self._measurement.fill(threads=self._asked.threads, progress=progress)

    def finish(self) -> None:
        """What the pass would leave float."""
        if self._max_drop is None:
            return
        model, given = self._measurement.model, self._asked.model
        reference = given if model is not given else partial.only(given, ())
        with console.bars("choosing layers") as show:
            calibration = self._sources(show).calibration
            assert calibration is not None
            self._choice = mixed.choose(model, reference, calibration, self._max_drop)

    def write(self, output: Path | None, picture: Path | None) -> None:
        if output is not None:
            effects.save(self.json(), output)
        if picture is not None:
            plot.draw(self._measurement.effects(), picture)

    def json(self) -> Mapping[str, Any]:
        found = effects.to_json(self._measurement.effects())
        if self._choice is not None:
            found["auto"] = {
                "max_drop": self._max_drop,
                "float_layers": list(self._choice.layers),
                "notes": list(self._choice.notes),
            }
        return found

    def show(self, output: Path | None) -> None:
        found = self._measurement.effects()
        console.table(*_table(self._asked.path, found))
        say_more(len(found.layers), output)
        if found.between is not None:
            click.echo(f"float layers, pairs between them alone: {_words(found, found.between)}")
        if self._choice is not None:
            click.echo(f"qat.float_layers=auto qat.max_drop={self._max_drop:g}:")
            for note in self._choice.notes:
                click.echo(f"  {visible(note)}")


def _words(found: Effects, point: Compared) -> str:
    return f"SQNR {point.decibels:.1f} dB, top-1 loses {found.drop(point):.2f} points"


def _table(path: Path, found: Effects) -> tuple[str, list[str], list[list[str]]]:
    """The most sensitive layers: what INT8 costs them alone, and what leaving them float gains."""
    title = (
        f"{path}: SQNR of the logits, one layer at a time ({found.images:,} {found.data};"
        f" float {found.dense.top1:.2f} %;"
        f" all {len(found.layers)} in INT8: {_words(found, found.int8)})"
    )
    columns = [
        "most sensitive",
        "alone: SQNR, dB",
        "top-1 lost",
        "left float: SQNR, dB",
        "gained",
        "top-1 lost",
    ]
    rows = []
    for name in found.by_sensitivity()[:LISTED]:
        effect = found.layers[name]
        rows.append(
            [
                name,
                f"{effect.alone.decibels:.1f}",
                f"{found.drop(effect.alone):.2f}",
                f"{effect.left.decibels:.1f}",
                f"{found.gain(name):+.1f}",
                f"{found.drop(effect.left):.2f}",
            ]
        )
    return title, columns, rows
