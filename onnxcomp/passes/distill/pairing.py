"""Which tensor of the student learns from which tensor of the teacher."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx_graphsurgeon as gs

from onnxcomp import graphs
from onnxcomp.errors import PassError
from onnxcomp.model import Model
from onnxcomp.passes.distill.ends import stage_ends


@dataclass(frozen=True)
class Pair:
    """Two tensors of the compression form, each of shape (N, C, H, W) or (N, C).

    Attributes:
        student, teacher: the tensors.
        source: what the teacher's is called in its own file.
    """

    student: gs.Variable
    teacher: gs.Variable
    source: str


def has_positions(pair: Pair) -> bool:
    """Whether both tensors have more than one, also after they are brought to one size."""
    sizes: Iterable[tuple[int, int]] = zip(pair.student.shape[2:], pair.teacher.shape[2:], strict=False)
    return math.prod(min(both) for both in sizes) > 1


def by_stage(graph: gs.Graph, teacher: Model, copies: Mapping[str, gs.Tensor]) -> list[Pair]:
    """The ends of the stages, the last with the last, then backwards as far as both networks have some.

    Args:
        graph: of the student.
        teacher: the network that ``copies`` are of.
        copies: the teacher's tensors in the student's graph, by the names that they have in ``teacher``.
    """
    own = stage_ends(graph)
    others = [tensor.name for tensor in stage_ends(teacher.graph)]
    count = min(len(own), len(others))
    chosen = zip(own[len(own) - count :], others[len(others) - count :], strict=True)
    return [Pair(tensor, copies[name], name) for tensor, name in chosen]


def by_name(graph: gs.Graph, names: Sequence[tuple[str, str]], copies: Mapping[str, gs.Tensor]) -> list[Pair]:
    """Pairs of tensors that are called so, or that a node that is called so gives.

    Raises:
        PassError: there is no such tensor (says the nearest names), or it has another rank than 2 or 4.
    """
    students = {t.name: t for node in graph.nodes if graphs.is_student(node) for t in node.outputs}
    students.update((node.name, node.outputs[0]) for node in graph.nodes if graphs.is_student(node))
    teachers = {
        node.name.removeprefix(graphs.TEACHER_PREFIX): node.outputs[0]
        for node in graph.nodes
        if node.name.startswith(graphs.TEACHER_PREFIX)
    }
    teachers.update((name, t) for name, t in copies.items() if not isinstance(t, gs.Constant))
    found = []
    for own, other in names:
        pair = Pair(_find(own, students, "student"), _find(other, teachers, "teacher"), other)
        for whose, name, tensor in (("student", own, pair.student), ("teacher", other, pair.teacher)):
            _check_shape(whose, name, tensor)
        found.append(pair)
    return found


def _find(name: str, tensors: Mapping[str, gs.Tensor], whose: str) -> gs.Variable:
    tensor = tensors.get(name)
    if tensor is not None:
        return tensor
    near = difflib.get_close_matches(name, tensors, n=3, cutoff=0.4)
    fix = f"did you mean {', '.join(near)}?" if near else "see onnxcomp inspect"
    raise PassError(f"the {whose} has no tensor or node {name}", where="distill: pairs", fix=fix)


def _check_shape(whose: str, name: str, tensor: gs.Variable) -> None:
    shape = tensor.shape
    known = shape is not None and len(shape) in (2, 4) and all(isinstance(n, int) for n in shape[1:])
    if not known or tensor.dtype != "float32":
        raise PassError(
            f"{name} of the {whose} is {tensor.dtype} {shape}",
            where="distill: pairs",
            fix="name float32 tensors of shape (N, C, H, W) or (N, C)",
        )


def embedding(logits: gs.Tensor, is_own: Callable[[gs.Node], bool]) -> gs.Tensor:
    """What the classifier, a product or a 1x1 convolution, reads: (N, D) or (N, D, 1, 1); else the logits."""
    tensor = logits
    while tensor.inputs and is_own(tensor.inputs[0]):
        node = tensor.inputs[0]
        source = next((t for t in node.inputs if graphs.constant_behind(t) is None), None)
        if source is None:
            return logits
        if node.op in graphs.WEIGHTED_OPS:
            shape = source.shape or ()
            return source if len(shape) >= 2 and tuple(shape[2:]) in ((), (1, 1)) else logits
        tensor = source
    return logits
