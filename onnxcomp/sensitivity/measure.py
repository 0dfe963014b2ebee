"""The sensitivity of a network, layer by layer: what is known is read, what is not is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from onnxcomp import files, graphs, pipeline, sources
from onnxcomp.data import DataSet, ImageSet
from onnxcomp.errors import DataError, ModelError
from onnxcomp.model import Form, Model
from onnxcomp.parity.sample import limited
from onnxcomp.passes.prune import criteria
from onnxcomp.passes.prune.plan import Plan
from onnxcomp.sensitivity import cache as caches
from onnxcomp.sensitivity.alone import Alone
from onnxcomp.sensitivity.bench import Bench
from onnxcomp.sensitivity.cache import Cache
from onnxcomp.sensitivity.curves import Curves, Point
from onnxcomp.sensitivity.way import Way
from onnxcomp.sources import Show, quiet
from onnxcomp.student import student

Split = Literal["train", "test"]
Place = tuple[str, float]
"""A weight and its share of zeros."""
AS_IT_IS: Place = (caches.DENSE, 0.0)


@dataclass(frozen=True)
class Measurement:
    """What is to be measured, and what of it is known.

    Attributes:
        model: a student.
        model_digest: see :func:`onnxcomp.sensitivity.cache.model_digest`.
        data: where the images come from.
        split: which of its sets.
        images: those that the network is measured on.
        way: how layers are pruned.
        plan: which layers.
        cache: where points are kept.
        known: points that have been measured; :meth:`fill` adds to them.
        damaged: files of the cache that were not what they should be, and are measured anew.
    """

    model: Model
    model_digest: str
    data: DataSet
    split: Split
    images: ImageSet
    way: Way
    plan: Plan
    cache: Cache
    known: dict[Place, Point]
    damaged: tuple[str, ...]

    @property
    def places(self) -> list[Place]:
        """All that is wanted."""
        return [AS_IT_IS, *((name, share) for name in self.plan.names for share in self.way.sparsities)]

    @property
    def missing(self) -> list[Place]:
        """What is not known yet."""
        return [place for place in self.places if place not in self.known]

    def prepare(self, *, threads: int, show: Show = quiet) -> Alone:
        """What the criterion needs to know of the data before anything can be pruned.

        Args:
            threads: of ONNX Runtime.
            show: told how far it is.
        """
        count = len(self.images)
        asked = sources.from_data(self.model, self.data, images=count, threads=threads, show=show)
        return Alone(self.model, self.way, self.plan, asked)

    def fill(
        self, alone: Alone, *, threads: int, progress: Callable[[float], None] = lambda share: None
    ) -> None:
        """Measure what is missing, and keep each point as soon as it is there.

        Args:
            progress: told the share of the work that is done, after each point.

        Raises:
            ModelError: a logit of the dense network is not finite, or ONNX Runtime cannot load it.
            OnnxcompError: the cache cannot be written.
        """
        files.make_folder(self.cache.folder)
        bench = Bench(self.model, self.images, threads=threads)
        order = {name: index for index, name in enumerate([caches.DENSE, *bench.names])}
        missing = sorted(self.missing, key=lambda place: (order[place[0]], place[1]))
        works = [bench.work(name) for name, _ in missing]
        done = 0
        for (name, sparsity), work in zip(missing, works, strict=True):
            dense = name == caches.DENSE
            point = bench.dense() if dense else bench.measure(name, alone.values(name, sparsity))
            self.cache.put(name, sparsity, point)
            self.known[name, sparsity] = point
            done += work
            progress(done / (sum(works) or 1))

    def curves(self) -> Curves:
        """The result, when nothing is missing."""
        layers = {
            name: {share: self.known[name, share] for share in self.way.sparsities}
            for name in self.plan.names
        }
        order = [weight.name for weight in graphs.weights(self.model.graph)]
        kind = {"train": "training", "test": "test"}[self.split]
        return Curves(
            model=self.model_digest,
            data=f"{kind} images of {self.data.name}",
            criterion=self.way.criterion,
            pattern=self.way.pattern,
            images=len(self.images),
            dense=self.known[AS_IT_IS],
            layers={name: layers[name] for name in dict.fromkeys(order) if name in layers},
            left=self.plan.left,
        )


def open_measurement(
    model: Model, data: DataSet, way: Way, *, images: int, split: Split, root: Path
) -> Measurement:
    """Check everything and look into the cache; nothing is run.

    Args:
        model: with a preprocessing; inference form, or compression form without masks and Q/DQ.
        images: evenly spaced; at most all of the set are used.
        split: choosing sparsities on test images would flatter the result that is tested on them.
        root: the caches of all networks.

    Raises:
        ModelError: quantised, pruned or deployable already, ends in probabilities, holds weights that
            are not finite, or there is no layer to prune.
        DataError: there is no image.
        OnnxcompError: an exclusion matches nothing.
    """
    network = _dense(model)
    plan = way.plan(network)
    chosen = limited(data.train if split == "train" else data.test, images)
    if not len(chosen):
        raise DataError(f"has no {split} image", where=f"data {data.name}", fix="give other data")
    digest = caches.model_digest(network)
    cache = Cache(
        root, caches.key_of(digest, _images_digest(network, chosen), _way_key(network, data, way, images))
    )
    found = Measurement(network, digest, data, split, chosen, way, plan, cache, {}, ())
    damaged = []
    for place in found.places:
        try:
            point = cache.get(*place)
        except ValueError as error:
            damaged.append(str(error))
            continue
        if point is not None:
            found.known[place] = point
    return Measurement(network, digest, data, split, chosen, way, plan, cache, found.known, tuple(damaged))


def _dense(model: Model) -> Model:
    """The network without losses and labels, if it can be measured."""
    where = model.graph.name
    if model.form is Form.DEPLOYABLE:
        raise ModelError("is deployable already", where=where, fix="measure the network before onnxcomp")
    if graphs.masks(model.graph) or any(True for _ in graphs.quantizers(model.graph)):
        raise ModelError(
            "is pruned or quantised already", where=where, fix="measure the network before onnxcomp apply"
        )
    return student(pipeline.with_task_loss(model))


def _images_digest(model: Model, images: ImageSet) -> str:
    _, height, width = model.image_shape
    return caches.digest_of(images, (height, width))


def _way_key(model: Model, data: DataSet, way: Way, images: int) -> dict[str, str]:
    """What decides which weights go, beside the network itself."""
    key = {"criterion": way.criterion, "pattern": way.pattern}
    if way.criterion in (*criteria.STATISTICS, "obs"):
        key["scored on"] = _images_digest(model, limited(data.train, images))
    return key
