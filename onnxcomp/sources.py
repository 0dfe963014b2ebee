"""What passes may ask of a data set. Nothing is read or run before one asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from onnxcomp import graphs
from onnxcomp.model import Model
from onnxcomp.passes.base import Array, Calibration, Gradients, Grams

if TYPE_CHECKING:
    from onnxcomp.data import DataSet

Batch = TypeVar("Batch")
Show = Callable[[str, int, int], None]
"""Told of a long step: what it is, how much of it is done, and of how much."""


def quiet(what: str, done: int, total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class Sources:
    """The parts of a pass's context that come from data; see :class:`onnxcomp.passes.base.Context`."""

    calibration: Calibration | None = None
    grams: Grams | None = None
    gradients: Gradients | None = None


def from_data(
    model: Model,
    data: DataSet,
    *,
    images: int,
    threads: int,
    show: Show = quiet,
    cache: Path | None = None,
    warn: Callable[[str], None] = lambda line: None,
) -> Sources:
    """All of them, on the same evenly spaced training images.

    Args:
        model: says the size, the channels and the preprocessing, which must be known.
        images: at most all are used.
        threads: of ONNX Runtime.
        show: told how far a pass's question is.
        cache: folder of what calibration saw in earlier calls and of what it sees now; None for none.
        warn: told in one line what is wrong with it.
    """
    from onnxcomp import calibration, gradients, grams
    from onnxcomp.calibration_cache import CachedCalibration

    count = min(images, len(data.train))
    observed = calibration.from_data(model, data, images=images, threads=threads)
    differentiated = gradients.from_data(model, data, images=images, threads=threads)
    shown = replace(observed, batches=_shown(observed.batches, len, count, "images observed", show))
    return Sources(
        shown if cache is None else CachedCalibration(shown, observed.batches, cache, warn),
        _ShownGrams(grams.from_data(model, data, images=images, threads=threads), show),
        replace(
            differentiated,
            batches=_shown(
                differentiated.batches, lambda batch: len(batch[1]), count, "images differentiated", show
            ),
        ),
    )


def _shown(
    batches: Callable[[], Iterable[Batch]], size: Callable[[Batch], int], total: int, what: str, show: Show
) -> Callable[[], Iterator[Batch]]:
    """The same batches; each counts as done when the next is asked for."""

    def iterate() -> Iterator[Batch]:
        done = 0
        show(what, done, total)
        for batch in batches():
            yield batch
            done += size(batch)
            show(what, min(done, total), total)

    return iterate


@dataclass(frozen=True)
class _ShownGrams:
    """Asked stage by stage, so that what is done is counted in layers; a second round begins anew."""

    source: Grams
    show: Show
    _seen: set[str] = field(default_factory=set)

    def grams(self, model: Model, layers: Sequence[graphs.Weight]) -> dict[str, Array]:
        total = len({weight.name for weight in graphs.weights(model.graph)})
        names = {layer.name for layer in layers}
        if names & self._seen:
            self._seen.clear()
        self.show("layers looked at", len(self._seen), total)
        found = self.source.grams(model, layers)
        self._seen.update(names)
        self.show("layers looked at", len(self._seen), total)
        return found
