"""Runs a network on the same images again and again, each time with another one of its layers changed."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxcomp.data import ImageSet, evaluation_batches
from onnxcomp.errors import ModelError
from onnxcomp.model import Model
from onnxcomp.parity.accuracy import pad
from onnxcomp.sensitivity import known, stages

Array = NDArray[np.float32]
Tensors = dict[str, Array]
Edit = Callable[[Model], Model]
"""Makes of a piece of a network another one with the same inputs, or more, and the same outputs."""
MEMORY = 2**30
"""Bytes of activations that are held, at most."""
BATCH, BATCH_BYTES = 64, 2**24
"""Images in a run, and bytes of its largest tensor; at most."""


@dataclass(frozen=True)
class Variant:
    """A network of which some nodes are changed.

    Attributes:
        name: of the layer; variants with one name and the same nodes are run by the same session.
        nodes: names of the nodes that read or compute something else.
        edit: makes the changed form of a piece of the network that the bench was given.
        feeds: values of the inputs that ``edit`` adds.
    """

    name: str
    nodes: Collection[str]
    edit: Edit
    feeds: Mapping[str, Array] = field(default_factory=dict)


def with_weight(model: Model, name: str, values: Array) -> Variant:
    """A network with other values of one weight: float32 of the weight's shape."""
    nodes = [node.name for node in model.graph.tensors()[name].outputs]
    return Variant(name, nodes, lambda part: stages.with_weight_as_input(part, name), {name: values})


def as_it_is(part: Model) -> Model:
    """Change nothing."""
    return part


@dataclass
class _Session:
    """A piece of the network, ready to run.

    Attributes:
        key: which piece; None for none yet.
        run: of what moves; None where there is nothing to run.
        before: of what is known before, from what is alive at the beginning of the stage; None where that
            is all.
        reads: names of the known tensors.
        held: these, batch by batch; None where there is no room for them.
    """

    key: object = None
    run: Any = None
    before: Any = None
    reads: Sequence[str] = ()
    held: list[Tensors] | None = None


class Bench:
    """A network and the images it is measured on.

    Nothing is computed again that a variant does not change: not what lies before it, nor what behind it
    depends on other tensors alone. What is alive at the beginning of a layer's stage is held, so ask for
    variants in the order of :meth:`place`. Sessions are built once for a layer, and for all behind a stage.

    Args:
        model: a student with a preprocessing; its nodes have names of their own.
        image_set: at least one image.
        threads: of ONNX Runtime.
        form: the form of the network in which no variant changes anything: made of each piece of ``model``.
        memory: bytes of activations that may be held; what has no room is computed again.
        most: stages at most.
    """

    def __init__(
        self,
        model: Model,
        image_set: ImageSet,
        *,
        threads: int,
        form: Edit = as_it_is,
        memory: int = MEMORY,
        most: int = stages.STAGES,
    ) -> None:
        assert model.preprocessing is not None
        self._images, self._threads, self._form = image_set, threads, form
        self._preprocessing = model.preprocessing
        self._batch = model.batch or batch_size(model, len(image_set))
        self._model = stages.static(model, self._batch)
        self._memory, self._count = memory, math.ceil(len(image_set) / self._batch)
        room = memory / 2 / 4 / (self._count * self._batch)  # half for what is alive, in float32
        self._cuts = stages.boundaries(self._model, most=most, room=room)
        self._parts = [self._piece(index, index + 1) for index in range(len(self._cuts) - 1)]
        self._stages = stages.of_nodes(self._parts)
        self._at, self._held = 0, list[Tensors]()
        self._layer, self._rest = _Session(), _Session()

    def place(self, nodes: Collection[str]) -> tuple[int, int]:
        """First and last stage of nodes, by their names: in this order variants are measured quickest."""
        spans = [self._stages[name] for name in nodes]
        return min(first for first, _ in spans), max(last for _, last in spans)

    def work(self, nodes: Collection[str]) -> int:
        """Multiply-accumulates for one image of :meth:`measure`; of :meth:`base` for no nodes."""
        first = self.place(nodes)[0] if nodes else 0
        return self._cuts[-1].cost - self._cuts[first].cost

    def base(self) -> Array:
        """Logits of the network without a change, float32 (N, classes).

        Raises:
            ModelError: one is not a finite number.
        """
        session = self._session(stages.speed_up(self._part(0, len(self._parts))))
        return self._logits((self._run(session, images) for images in self._batches()), "check the weights")

    def measure(self, variant: Variant) -> Array:
        """Logits of a variant, float32 (N, classes).

        Raises:
            ModelError: one is not a finite number.
        """
        first, last = self.place(variant.nodes)
        self._advance(first)
        layer, rest = self._layer_session(variant, first, last), self._rest_session(first, last + 1)

        def results() -> Iterator[Tensors]:
            for beside, behind in zip(self._known(layer), self._known(rest), strict=True):
                found = {**beside, **variant.feeds}
                found.update(self._run(layer.run, found))
                yield self._run(rest.run, {**behind, **found}) if rest.run else found

        return self._logits(results(), f"exclude {variant.name}")

    def _piece(self, first: int, end: int) -> Model:
        """The stages from ``first`` on, before ``end``, as they were given."""
        return stages.piece(self._model, self._cuts[first].alive, self._cuts[end].alive)

    def _part(self, first: int, end: int) -> Model:
        """The same, in the form in which no variant changes anything."""
        return self._form(self._piece(first, end))

    def _session(self, part: Model) -> Any:
        return stages.session(part, threads=self._threads)

    def _layer_session(self, variant: Variant, first: int, last: int) -> _Session:
        """Of the stages that a variant changes."""
        key = (variant.name, first, last)
        if self._layer.key != key:
            self._layer = _Session()  # what it knows is of no more use, and takes room
            part = variant.edit(self._parts[first] if first == last else self._piece(first, last + 1))
            fixed = set(self._cuts[first].alive)
            self._layer = self._apart(key, part, fixed) if variant.feeds else self._whole(key, part)
        return self._layer

    def _whole(self, key: object, part: Model) -> _Session:
        """A single session, which is run on what is alive at the beginning of its stage."""
        reads = [tensor.name for tensor in part.graph.inputs]
        return _Session(key, self._session(stages.speed_up(part)), None, reads)

    def _rest_session(self, first: int, stage: int) -> _Session:
        """Of ``stage`` and all behind it; what it knows depends on what is alive before ``first`` alone."""
        key = (first, stage)
        if self._rest.key != key:
            self._rest = _Session(key)
            if stage < len(self._parts):
                part = self._part(stage, len(self._parts))
                self._rest = self._apart(key, part, set(self._cuts[first].alive))
        return self._rest

    def _apart(self, key: object, part: Model, fixed: set[str]) -> _Session:
        """Two sessions: of what depends on the inputs ``fixed`` alone, which is run now, and of the rest."""
        inputs = [tensor.name for tensor in part.graph.inputs]
        moving = [name for name in inputs if name not in fixed]
        known.part(part.graph, fixed)
        stages.speed_up(part)
        ends = known.boundary(part.graph, fixed)
        targets = [tensor.name for tensor in part.graph.outputs]
        run = self._session(stages.piece(part, [*ends, *moving], targets))
        before = stages.piece(part, [name for name in inputs if name in fixed], ends)
        found = _Session(key, run, self._session(before) if before.graph.outputs else None, ends)
        tensors = self._known(found)
        first = next(tensors)
        if self._count * sum(array.nbytes for array in first.values()) <= self._memory / 4:
            found.held = [first, *tensors]
        return found

    def _known(self, session: _Session) -> Iterator[Tensors]:
        """What a session knows before, batch by batch."""
        if session.held is not None:
            yield from session.held
            return
        for start in self._starts():
            yield self._select(session.before, start, session.reads)

    def _select(self, session: Any, start: Tensors, names: Sequence[str]) -> Tensors:
        """What is called ``names``, from ``start`` or computed from it."""
        found = {**start, **(self._run(session, start) if session else {})}
        return {name: found[name] for name in names}

    def _advance(self, stage: int) -> None:
        """Hold what is alive before ``stage``."""
        if stage < self._at:
            self._at, self._held = 0, []
        if stage == self._at:
            return
        part = stages.speed_up(self._part(self._at, stage))
        session, alive = self._session(part), self._cuts[stage].alive
        self._layer, self._rest = _Session(), _Session()
        if self._at:
            for index, start in enumerate(self._held):  # one by one, so that not both are held
                self._held[index] = self._select(session, start, alive)
        else:
            self._held = [self._select(session, start, alive) for start in self._batches()]
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

    def _logits(self, batches: Iterable[Tensors], fix: str) -> Array:
        """Of all images; what fills up the last batch does not count."""
        name, count = self._model.logits.name, len(self._images)
        found: Array = np.concatenate([tensors[name] for tensors in batches])[:count]
        if not np.isfinite(found).all():
            raise ModelError("gives logits that are not finite", where=self._model.graph.name, fix=fix)
        return found


def batch_size(model: Model, images: int) -> int:
    """Images in a run, so that runs are about equally large and their tensors not too large."""
    sizes = [tensor.shape for node in model.graph.nodes for tensor in node.outputs]
    known = [math.prod(s[1:]) for s in sizes if s and all(isinstance(size, int) for size in s[1:])]
    most = min(BATCH, max(1, BATCH_BYTES // (4 * max(known, default=1))))
    return math.ceil(images / math.ceil(images / most))
