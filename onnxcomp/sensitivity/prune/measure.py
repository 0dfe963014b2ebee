"""The sensitivity of a network to pruning, layer by layer: what is known is read, what is not is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onnxcomp import graphs, pipeline, sources
from onnxcomp.data import DataSet
from onnxcomp.errors import ModelError
from onnxcomp.model import Form, Model
from onnxcomp.parity.sample import limited
from onnxcomp.passes.prune import criteria
from onnxcomp.passes.prune.plan import Plan
from onnxcomp.sensitivity import cache as caches
from onnxcomp.sensitivity import scores
from onnxcomp.sensitivity.bench import Bench, with_weight
from onnxcomp.sensitivity.cache import Place
from onnxcomp.sensitivity.points import Images, Points, Split, choose_images, images_digest, look_up
from onnxcomp.sensitivity.prune.alone import Alone
from onnxcomp.sensitivity.prune.curves import Curves
from onnxcomp.sensitivity.prune.way import Way
from onnxcomp.sensitivity.scores import Point
from onnxcomp.sources import Show, quiet
from onnxcomp.student import student

AS_IT_IS: Place = (caches.DENSE, 0.0)


@dataclass(frozen=True)
class Measurement:
    """What is to be measured, and what of it is known.

    Attributes:
        model: a student.
        digest: see :func:`onnxcomp.sensitivity.cache.model_digest`.
        images: those that the network is measured on.
        way: how layers are pruned.
        plan: which layers.
        points: by a weight and its share of zeros.
    """

    model: Model
    digest: str
    images: Images
    way: Way
    plan: Plan
    points: Points[Point]

    def prepare(self, *, threads: int, show: Show = quiet) -> Alone:
        """What the criterion needs to know of the data before anything can be pruned.

        Args:
            threads: of ONNX Runtime.
            show: told how far it is.
        """
        count = len(self.images.chosen)
        asked = sources.from_data(self.model, self.images.source, images=count, threads=threads, show=show)
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
        bench = Bench(self.model, self.images.chosen, threads=threads)
        readers = {
            name: [node.name for node in tensor.outputs] for name, tensor in self.model.constants().items()
        }
        readers[caches.DENSE] = []
        missing = sorted(
            self.points.missing, key=lambda place: bench.place(readers[place[0]]) if place[0] else (-1, -1)
        )
        labels = self.images.chosen.labels

        def measured(place: Place) -> Point:
            name, sparsity = place
            if name == caches.DENSE:
                return scores.point(bench.base(), labels)
            values = alone.values(name, float(sparsity))
            return scores.point(bench.measure(with_weight(self.model, name, values)), labels)

        works = [bench.work(readers[name]) for name, _ in missing]
        self.points.measure(missing, works, measured, progress)

    def curves(self) -> Curves:
        """The result, when nothing is missing."""
        known = self.points.known
        layers = {
            name: {share: known[name, share] for share in self.way.sparsities} for name in self.plan.names
        }
        order = [weight.name for weight in graphs.weights(self.model.graph)]
        return Curves(
            model=self.digest,
            data=self.images.words,
            criterion=self.way.criterion,
            pattern=self.way.pattern,
            images=len(self.images.chosen),
            dense=known[AS_IT_IS],
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
    chosen = choose_images(data, split, images)
    digest = caches.model_digest(network)
    cache = chosen.cache(network, digest, root, _way_key(network, data, way, images))
    places = [AS_IT_IS, *((name, share) for name in plan.names for share in way.sparsities)]
    return Measurement(network, digest, chosen, way, plan, look_up(cache, places, Point))


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


def _way_key(model: Model, data: DataSet, way: Way, images: int) -> dict[str, str]:
    """What decides which weights go, beside the network itself."""
    key = {"criterion": way.criterion, "pattern": way.pattern}
    if way.criterion in (*criteria.STATISTICS, "obs"):
        key["scored on"] = images_digest(model, limited(data.train, images))
    return key
