"""The pass ``distill``: frozen teachers beside the student, and the losses between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import onnx_graphsurgeon as gs
from pydantic import Field

from onnxcomp import graphs
from onnxcomp.losses import TASK
from onnxcomp.model import Model
from onnxcomp.passes.base import Change, Context, Name, Names, Pass
from onnxcomp.passes.distill import teachers
from onnxcomp.passes.distill.pairing import Pair, by_name, by_stage
from onnxcomp.passes.distill.stage import Stage, obstacle
from onnxcomp.passes.distill.terms import HIDDEN, Scene

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
PARTS = {"relations": ("distance", "angle"), "decoupled": ("target_weight", "others_weight")}
"""Terms that are sums, and the weights within them."""
Scale = Annotated[float, Field(gt=0, allow_inf_nan=False)]


@dataclass(frozen=True)
class Distill(Pass):
    """Learn from a teacher: its softened answers, its hidden tensors, and how it relates images.

    In one stage the loss is ``(1 - alpha) task + alpha soft_targets + boundary * its term + ...``; with
    ``stages`` each has the weights that it names.

    Attributes:
        teacher: ONNX files, of any architecture; several are an ensemble whose logits are averaged. None:
            the network as it was before the recipe.
        resize: let a teacher of another image size see the student's images, scaled.
        temperature: softens the logits (Hinton et al. 2015).
        alpha: weight of the soft targets, 0 to 1; the labels get the rest.
        boundary: weight of the activation boundaries (Heo et al. 2019); 0 leaves a term out.
        margin: how far from the boundary a pre-activation shall lie.
        hints: weight of hidden tensors themselves (FitNets, Romero et al. 2015).
        attention: weight of attention maps (Zagoruyko & Komodakis 2017).
        relations: weight of relations between images (Park et al. 2019), within it ``distance`` of their
            distances and ``angle`` of their angles.
        decoupled: weight of decoupled knowledge distillation (Zhao et al. 2022), within it
            ``target_weight`` and ``others_weight`` of the target class and of the others.
        pairs: hidden tensors, or nodes that give them, of student and teacher; none: the ends of their
            stages, the last with the last.
        stages: parts of the training, one after the other; see :class:`.stage.Stage`.
        labels: False for images without labels: no task loss, and ``decoupled`` takes the teacher's answer.
    """

    name: ClassVar[str] = "distill"
    follows: ClassVar[tuple[str, ...]] = ("channels", "prune", "qat")

    teacher: Names = ()
    resize: bool = False
    temperature: Scale = 4.0
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.5
    boundary: Weight = 0.1
    margin: Scale = 1.0
    hints: Weight = 0.0
    attention: Weight = 0.0
    relations: Weight = 0.0
    distance: Weight = 1.0
    angle: Weight = 2.0
    decoupled: Weight = 0.0
    target_weight: Weight = 1.0
    others_weight: Weight = 8.0
    pairs: tuple[tuple[Name, Name], ...] = ()
    stages: tuple[Stage, ...] = ()
    labels: bool = True

    def plan(self) -> tuple[Stage, ...]:
        """The stages with their losses, at least one."""
        if self.stages:
            return self.stages
        weights = {
            "task": (1 - self.alpha) * self.labels,
            "soft_targets": self.alpha,
            **{term: getattr(self, term) for term in (*HIDDEN, "relations", "decoupled")},
        }
        return (Stage({term: weight for term, weight in weights.items() if weight}),)  # type: ignore[misc]

    def precheck(self, model: Model) -> None:
        """Refuse what no other pass can mend, before any of them runs.

        Raises:
            PassError: a stage is wrong, or options contradict each other.
            ModelError: a teacher cannot be read, or is none of this network's.
        """
        self._check_plan()
        for path in self.teacher:
            teachers.check(teachers.read(path), model, resize=self.resize)

    def requires(self, model: Model, context: Context) -> None:
        self._check_plan()
        if self.teacher:
            return
        original = context.original.constants()
        for name, mask in graphs.masks(model.graph).items():
            if _is_pruned(original.get(name), mask):
                raise self.error(
                    f"the teacher would be pruned: {name} is 0 where its mask is",
                    fix="apply distill together with prune, or before training, or name a teacher file",
                )

    def _check_plan(self) -> None:
        what, fix = obstacle(self.stages)
        if self.stages and self._weights_given():
            what = f"{', '.join(self._weights_given())} and stages are both given"
            fix = "give the weights of the losses in the stages"
        terms = {term for stage in self.plan() for term in stage.losses}
        if not self.labels and "task" in terms:
            what, fix = "a stage has the loss task, but labels is false", "leave task out of the stages"
        if not what and not terms - {"task"}:
            what = "no loss but that of the labels has a weight"
            fix = "raise alpha or boundary, or leave distill out"
        for term, parts in PARTS.items():
            if term in terms and not any(getattr(self, part) for part in parts):
                what, fix = f"{' and '.join(parts)} are both 0", "give one of them a weight"
        if what:
            raise self.error(what, fix=fix)

    def _weights_given(self) -> list[str]:
        names = ("alpha", *HIDDEN, "relations", "decoupled")
        return [name for name in names if getattr(self, name) != getattr(type(self), name)]

    def apply(self, model: Model, context: Context) -> Change:
        networks = [teachers.read(path) for path in self.teacher] or [context.original]
        found = teachers.attach(model, networks, resize=self.resize)
        pairs = self._pairs(model, found)
        scene = Scene(model, found.logits, pairs, self)
        notes = [*found.notes]
        terms = dict.fromkeys(term for stage in self.plan() for term in stage.losses)
        rows: dict[str, list[str]] = {}
        for term in terms:
            if missing := scene.missing(term):
                notes.append(f"no {term}: {missing}")
            elif term != "task":
                rows[term] = scene.build(term)
        if len(networks) > 1 and rows.keys() & {*HIDDEN, "relations"}:
            notes.append(f"inside, it is compared with the first teacher alone, {networks[0].graph.name}")
        model.losses = self._final_weights([term for term in terms if term in ("task", *rows)])
        return Change(True, (*notes, *_table(pairs, rows)))

    def _pairs(self, model: Model, found: teachers.Teachers) -> list[Pair]:
        if self.pairs:
            return by_name(model.graph, self.pairs, found.tensors)
        return by_stage(model.graph, found.graphs[0], found.tensors)

    def _final_weights(self, terms: list[str]) -> dict[str, float]:
        """Of every term in the file: those of the last stage, whose other terms have 0."""
        for number, stage in enumerate(self.plan(), start=1):
            if not set(stage.losses) & set(terms):
                raise self.error(
                    f"stage {number} has no loss left: there are no pairs for {', '.join(stage.losses)}",
                    fix='name the pairs: pairs=[["student tensor","teacher tensor"]]',
                )
        last: dict[str, float] = dict(self.plan()[-1].losses)  # type: ignore[arg-type]
        return {f"{graphs.LOSS_PREFIX}{term}": last.get(term, 0.0) for term in terms}

    def ensures(self, model: Model) -> None:
        names = {node.name for node in model.graph.nodes}
        for term in model.losses:
            if term != TASK and term not in names:
                raise self.error(f"the loss {term} is missing", fix="report this")


def _is_pruned(weight: gs.Constant | None, mask: gs.Constant) -> bool:
    """Whether the teacher's weight has lost what the mask closes; one that `apply` only masks has not."""
    if weight is None or weight.values.shape != mask.values.shape:  # before its channels were cut
        return False
    closed = mask.values == 0
    return bool(closed.any()) and not weight.values[closed].any()


def _table(pairs: list[Pair], rows: dict[str, list[str]]) -> list[str]:
    """What was paired, a line each: names, shapes, and what stands between."""
    if not any(term in HIDDEN for term in rows):
        return []
    between = [
        [what for what in dict.fromkeys(column) if what]
        for column in zip(*(rows[t] for t in rows if t in HIDDEN), strict=True)
    ]
    cells = [("student", "teacher", "between")]
    for pair, what in zip(pairs, between, strict=True):
        cells.append(
            (
                _shown(pair.student.name, pair.student),
                _shown(pair.source, pair.teacher),
                "; ".join(what) or "-",
            )
        )
    widths = [max(len(row[column]) for row in cells) for column in (0, 1)]
    return [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in cells]


def _shown(name: str, tensor: gs.Variable) -> str:
    return f"{name} {'x'.join(map(str, tensor.shape[1:]))}"
