"""Runs a network on the same images again and again, each time with other values of one weight."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcomp.data import ImageSet, evaluation_batches
from onnxcomp.errors import ModelError
from onnxcomp.model import Model
from onnxcomp.parity.accuracy import label_ranks, pad, percent
from onnxcomp.sensitivity import stages
from onnxcomp.sensitivity.curves import Point

Array = NDArray[np.float32]
Tensors = dict[str, Array]
MEMORY = 2**30
"""Bytes of activations that are held between two stages, at most."""
BATCH, BATCH_BYTES = 64, 2**24
"""Images in a run, and bytes of its largest tensor; at most."""


@dataclass
class _Session:
    """A piece of the network, ready to run; ``key`` says which, None for none yet."""

    key: object = None
    run: Any = None


class Bench:
    """A network and the images it is measured on.

    The activations at the beginning of a stage are held while weights of that stage are measured, so ask
    for weights in the order of :attr:`names`. A session is built once for a weight.

    Args:
        model: a student with a preprocessing.
        image_set: at least one image.
        threads: of ONNX Runtime.
        memory: bytes of activations that may be held.
        most: stages at most.
    """

    def __init__(
        self,
        model: Model,
        image_set: ImageSet,
        *,
        threads: int,
        memory: int = MEMORY,
        most: int = stages.STAGES,
    ) -> None:
        assert model.preprocessing is not None
        self._images, self._threads = image_set, threads
        self._preprocessing = model.preprocessing
        self._batch = model.batch or batch_size(model, len(image_set))
        self._model = stages.static(model, self._batch)
        padded = math.ceil(len(image_set) / self._batch) * self._batch
        self._cuts = stages.boundaries(self._model, most=most, room=memory / 4 / padded)
        self._parts = [stages.piece(self._model, *ends) for ends in itertools.pairwise(self._cuts)]
        self._users = stages.users(self._model, self._parts)
        self._at, self._held = 0, list[Tensors]()
        self._layer, self._rest = _Session(), _Session()

    @property
    def names(self) -> list[str]:
        """Of the weights, in the order in which they are measured quickest."""
        return sorted(self._users, key=lambda name: self._users[name])

    def work(self, name: str) -> int:
        """Multiply-accumulates of :meth:`measure` for one image; of :meth:`dense` for no weight's name."""
        first, _ = self._users.get(name, (0, 0))
        return self._cuts[-1].cost - self._cuts[first].cost

    def dense(self) -> Point:
        """The network as it is.

        Raises:
            ModelError: a logit is not a finite number.
        """
        session = self._session(0, len(self._parts))
        return self._score(
            (self._run(session, images) for images in self._batches()), fix="check the weights"
        )

    def measure(self, name: str, values: Array) -> Point:
        """The network with other values of one weight: float32 of the weight's shape.

        Raises:
            ModelError: a logit is not a finite number.
        """
        first, last = self._users[name]
        self._advance(first)
        layer, rest = self._layer_session(name), self._rest_session(last + 1)

        def results() -> Iterator[Tensors]:
            for start in self._starts():
                behind = self._run(layer, {**start, name: values})
                yield behind if rest is None else self._run(rest, {**start, **behind})

        return self._score(results(), fix=f"exclude {name}")

    def _session(self, first: int, end: int) -> Any:
        """Of the stages from ``first`` on, before ``end``."""
        part = stages.piece(self._model, self._cuts[first], self._cuts[end])
        return stages.session(part, threads=self._threads)

    def _layer_session(self, name: str) -> Any:
        """Of the stages that read a weight, which is an input of it."""
        if self._layer.key != name:
            first, last = self._users[name]
            part = self._parts[first]
            if first != last:
                part = stages.piece(self._model, self._cuts[first], self._cuts[last + 1])
            session = stages.session(stages.with_weight_as_input(part, name), threads=self._threads)
            self._layer = _Session(name, session)
        return self._layer.run

    def _rest_session(self, stage: int) -> Any:
        """Of ``stage`` and all behind it; None where there is none."""
        if self._rest.key != stage:
            end = len(self._parts)
            self._rest = _Session(stage, None if stage == end else self._session(stage, end))
        return self._rest.run

    def _advance(self, stage: int) -> None:
        """Hold what is alive before ``stage``."""
        if stage < self._at:
            self._at, self._held = 0, []
        if stage == self._at:
            return
        session, alive = self._session(self._at, stage), self._cuts[stage].alive

        def step(start: Tensors) -> Tensors:
            found = {**start, **self._run(session, start)}
            return {name: found[name] for name in alive}

        if self._at:
            for index, start in enumerate(self._held):  # one by one, so that not both are held
                self._held[index] = step(start)
        else:
            self._held = [step(start) for start in self._batches()]
        self._at = stage

    def _starts(self) -> Iterable[Tensors]:
        return self._held if self._at else self._batches()

    def _batches(self) -> Iterator[Tensors]:
        channels, height, width = self._model.image_shape
        batches = evaluation_batches(
            self._images, (height, width), self._preprocessing, channels, self._batch
        )
        for images, _ in batches:
            yield {self._model.image.name: pad(images, self._batch)}

    def _run(self, session: Any, tensors: Tensors) -> Tensors:
        outputs = [entry.name for entry in session.get_outputs()]
        feeds = {entry.name: tensors[entry.name] for entry in session.get_inputs()}
        return dict(zip(outputs, session.run(outputs, feeds), strict=True))

    def _score(self, batches: Iterable[Tensors], *, fix: str) -> Point:
        """Of logits, batch by batch; what fills up the last batch does not count."""
        labels, total, hits = self._images.labels, 0.0, []
        for index, tensors in enumerate(batches):
            own = labels[index * self._batch : (index + 1) * self._batch]
            logits = tensors[self._model.logits.name][: len(own)]
            total += float(cross_entropies(logits, own).sum())
            hits.append(label_ranks(logits, own) < 1)
        if not math.isfinite(total):
            raise ModelError("gives logits that are not finite", where=self._model.graph.name, fix=fix)
        return Point(percent(np.concatenate(hits)), total / len(labels))


def batch_size(model: Model, images: int) -> int:
    """Images in a run, so that runs are about equally large and their tensors not too large."""
    sizes = [tensor.shape for node in model.graph.nodes for tensor in node.outputs]
    known = [math.prod(s[1:]) for s in sizes if s and all(isinstance(size, int) for size in s[1:])]
    most = min(BATCH, max(1, BATCH_BYTES // (4 * max(known, default=1))))
    return math.ceil(images / math.ceil(images / most))


def cross_entropies(logits: Array, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each image, in nats.

    Args:
        logits: float32 (N, classes).
        labels: int64 (N,).
    """
    values = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):  # infinite logits give NaN
        values -= values.max(axis=1, keepdims=True)
    own = np.take_along_axis(values, labels[:, None], axis=1)[:, 0]
    found: NDArray[np.float64] = np.log(np.exp(values).sum(axis=1)) - own
    return found
