"""The sensitivity of a network to INT8, layer by layer: what is known is read, what is not is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onnxcomp import graphs
from onnxcomp.data import DataSet
from onnxcomp.errors import ModelError
from onnxcomp.model import Form, Model
from onnxcomp.pipeline import QUANTIZED_OPS
from onnxcomp.sensitivity import cache as caches
from onnxcomp.sensitivity import scores
from onnxcomp.sensitivity.bench import Array, Bench, Variant
from onnxcomp.sensitivity.cache import Place
from onnxcomp.sensitivity.points import Images, Points, Split, choose_images, look_up
from onnxcomp.sensitivity.qat import spots as found_spots
from onnxcomp.sensitivity.qat.effects import Effect, Effects
from onnxcomp.sensitivity.qat.spots import Spot, Spots
from onnxcomp.sensitivity.scores import Compared, Point

FLOAT: Place = ("", "float")
INT8: Place = ("", "int8")
BETWEEN: Place = ("", "between")
ALONE, LEFT = "alone", "left float"
Rounding = frozenset[Spot]


@dataclass(frozen=True)
class Measurement:
    """What is to be measured, and what of it is known.

    Attributes:
        model: a compression form with Q/DQ.
        digest: see :func:`onnxcomp.sensitivity.cache.model_digest`.
        images: those that the network is measured on.
        spots: where it rounds.
        points: by a layer, or "" for the whole network, and what is done with it.
    """

    model: Model
    digest: str
    images: Images
    spots: Spots
    points: Points[Compared]

    def fill(self, *, threads: int, progress: Callable[[float], None] = lambda share: None) -> None:
        """Measure what is missing, and keep each point as soon as it is there.

        Args:
            progress: told the share of the work that is done, after each point.

        Raises:
            ModelError: a logit is not finite, or ONNX Runtime cannot load the network.
            OnnxcompError: the cache cannot be written.
        """
        rig = _Rig(self.spots, self.images, threads)
        reference, labels = rig.logits(FLOAT), self.images.chosen.labels
        order = sorted(self.points.missing, key=rig.place)

        def measured(place: Place) -> Compared:
            return scores.compared(rig.logits(place), reference, labels)

        self.points.measure(order, [rig.work(place) for place in order], measured, progress)

    def effects(self) -> Effects:
        """The result, when nothing is missing."""
        known = self.points.known
        dense = known[FLOAT]
        return Effects(
            model=self.digest,
            recipe=self.model.recipe,
            data=self.images.words,
            images=len(self.images.chosen),
            dense=Point(dense.top1, dense.loss),
            int8=known[INT8],
            between=known.get(BETWEEN),
            layers={name: Effect(known[name, ALONE], known[name, LEFT]) for name in self.spots.layers},
        )


class _Rig:
    """Runs the network as each place says.

    What has one layer in INT8 is a variant of the float network, what has one layer float a variant of that
    with all in INT8. Ask for all of the first before the others: only one of the two is held.
    """

    def __init__(self, spots: Spots, images: Images, threads: int) -> None:
        self._spots, self._images, self._threads = spots, images, threads
        self._nowhere, self._everywhere = Rounding(), Rounding(spots.readers)
        self._base = self._nowhere
        self._bench = self._new_bench()

    def _new_bench(self) -> Bench:
        base = self._base
        return Bench(
            self._spots.plain,
            self._images.chosen,
            threads=self._threads,
            form=lambda part: self._spots.form(part, base),
        )

    def place(self, place: Place) -> tuple[bool, int, int]:
        """What sorts places so that they are measured quickest."""
        nodes = self._nodes(place)
        return (place == INT8 or place[1] == LEFT, *(self._bench.place(nodes) if nodes else (-1, -1)))

    def work(self, place: Place) -> int:
        """Multiply-accumulates of :meth:`logits`."""
        return self._bench.work(self._nodes(place))

    def logits(self, place: Place) -> Array:
        """Float32 (N, classes)."""
        base, rounding = self._rounding(place)
        if base != self._base:
            self._base = base
            del self._bench  # before another takes its room
            self._bench = self._new_bench()
        if rounding == base:
            return self._bench.base()
        edit = lambda part: self._spots.form(part, rounding)  # noqa: E731
        return self._bench.measure(Variant(f"{place}", self._nodes(place), edit))

    def _nodes(self, place: Place) -> list[str]:
        base, rounding = self._rounding(place)
        return sorted({name for name, _ in base ^ rounding})

    def _rounding(self, place: Place) -> tuple[Rounding, Rounding]:
        """Where the network rounds that is varied, and where its variant does."""
        name, what = place
        if what == LEFT:
            return self._everywhere, self._spots.without(name)
        if what == ALONE:
            return self._nowhere, self._spots.only([name])
        if place == BETWEEN:
            return self._nowhere, self._spots.between()
        base = self._everywhere if place == INT8 else self._nowhere
        return base, base


def open_measurement(model: Model, data: DataSet, *, images: int, split: Split, root: Path) -> Measurement:
    """Check everything and look into the cache; nothing is run.

    Args:
        model: a compression form with Q/DQ, with a preprocessing.
        images: evenly spaced; at most all of the set are used.
        split: choosing layers on test images would flatter the result that is tested on them.
        root: the caches of all networks.

    Raises:
        ModelError: deployable already, quantised by another tool, or no layer is quantised.
        DataError: there is no image.
    """
    check(model)
    spots = found_spots.find(model)
    if not spots.layers:
        raise ModelError("no layer is quantised", where=model.graph.name, fix="apply qat first")
    chosen = choose_images(data, split, images)
    digest = caches.model_digest(model)
    cache = chosen.cache(model, digest, root, {"pass": "qat"})
    places: list[Place] = [FLOAT, INT8, *([BETWEEN] if spots.between() else [])]
    places += [(name, what) for name in spots.layers for what in (ALONE, LEFT)]
    return Measurement(model, digest, chosen, spots, look_up(cache, places, Compared))


def check(model: Model) -> None:
    """Refuse networks whose Q/DQ is not that of a compression form.

    Raises:
        ModelError: it is deployable already, or another tool has quantised it; names the nodes.
    """
    where = model.graph.name
    if model.form is Form.DEPLOYABLE:
        raise ModelError("is deployable already", where=where, fix="measure its compression form")
    foreign = [
        node
        for node in model.graph.nodes
        if node.op in QUANTIZED_OPS and not node.name.startswith(graphs.QAT_PREFIX)
    ]
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise ModelError(
            f"another tool has quantised it: node {foreign[0].name} is {foreign[0].op}{more}",
            where=where,
            fix="start from the float32 network",
        )
