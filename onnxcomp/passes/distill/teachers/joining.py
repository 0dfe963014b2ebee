"""Copy teachers beside the student, adapted so that they take its images and answer its classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs

from onnxcomp.graphs import TEACHER_PREFIX
from onnxcomp.model import Model, Role
from onnxcomp.opset_up import raise_opset
from onnxcomp.passes.distill.teachers.batch import free_batch
from onnxcomp.passes.distill.teachers.checks import fits, name_of
from onnxcomp.passes.distill.teachers.images import take_images_of
from onnxcomp.passes.distill.teachers.logits import cut_softmax, reorder
from onnxcomp.passes.distill.teachers.reading import LAYOUT
from onnxcomp.passes.distill.teachers.sizes import settle
from onnxcomp.passes.distill.teachers.weights import fold


@dataclass(frozen=True)
class Teachers:
    """Teachers in the graph of a student.

    Attributes:
        logits: float32 (N, classes): the teacher's, or the mean of an ensemble's logits, whose softmax is the
            geometric mean of their probabilities (Hinton et al. 2015, section 1).
        tensors: by the name that each has in its teacher's own file, the first teacher's where several have
            it; of an ensemble also ``"<number>/<name>"``, from 0.
        graphs: the networks as they were adapted, before copying.
        notes: what was adapted, a line each.
    """

    logits: gs.Variable
    tensors: Mapping[str, gs.Tensor]
    graphs: tuple[Model, ...]
    notes: tuple[str, ...]


def attach(student: Model, teachers: Sequence[Model], *, resize: bool) -> Teachers:
    """Copy ``teachers``, at least one, into ``student``, in place, as nodes called ``teacher/...``.

    Of several each is called ``teacher/<number>/...``. All are brought to the newest opset among them and the
    student, the student too. The teachers themselves are left as they are; the copies share no values with
    any other constant.

    Raises:
        PassError, ModelError: as :func:`.checks.check`.
    """
    opset = max(model.graph.opset for model in (student, *teachers))
    notes: list[str] = []
    networks = []
    for number, teacher in enumerate(teachers):
        fits(teacher, student, resize=resize)
        network, lines = _adapted(teacher, student, opset)
        networks.append(network)
        own = f"teacher {number}: " if len(teachers) > 1 else ""
        notes += [f"{own}{line}" for line in lines]
    old = student.graph.opset
    if raise_opset(student.graph, opset, where="distill: the network"):
        notes.append(f"the network is brought from opset {old} to {opset}, its teacher's")
    copies = [
        _copy(student, network, f"{TEACHER_PREFIX}{number}/" if len(networks) > 1 else TEACHER_PREFIX)
        for number, network in enumerate(networks)
    ]
    logits = [copy[network.logits.name] for copy, network in zip(copies, networks, strict=True)]
    tensors = {name: tensor for copy in reversed(copies) for name, tensor in copy.items()}
    if len(copies) > 1:
        for number, copy in enumerate(copies):
            tensors.update({f"{number}/{name}": tensor for name, tensor in copy.items()})
    return Teachers(_mean(student, logits), tensors, tuple(networks), tuple(notes))


def _adapted(teacher: Model, student: Model, opset: int) -> tuple[Model, list[str]]:
    """A copy of ``teacher`` for the images, batch and classes of ``student``; what was done, in lines."""
    model, where = teacher.copy(), name_of(teacher)
    notes = []
    if any(node.name == LAYOUT for node in model.graph.nodes):
        notes.append("its images are given channels last")
    if raise_opset(model.graph, opset, where=where):
        notes.append(f"brought from opset {teacher.graph.opset} to {opset}")
    softmax = cut_softmax(model)
    if softmax:
        notes.append(f"its last {softmax} is cut off")
    if free_batch(model, allowed=student.batch, where=where):
        notes.append(f"its batch of {teacher.batch} is free now")
    notes += fold(model)
    notes += take_images_of(model, student)
    if reorder(model, student.classes):
        notes.append("its classes are put in the network's order")
    model.graph.toposort()
    settle(model, student.image.shape[0])
    return model, [f"teacher of {len(model.graph.nodes)} nodes", *notes]


def _copy(student: Model, network: Model, prefix: str) -> dict[str, gs.Tensor]:
    """Copy ``network`` into ``student``, its names behind ``prefix``; the copies by their old names."""
    copy = network.copy()
    image = copy.image
    tensors = {name: tensor for name, tensor in copy.graph.tensors().items() if tensor is not image}
    parts = [copy.graph, *copy.graph.subgraphs(recursive=True)]
    for tensor in list(_each(parts)):
        if tensor is not image:
            tensor.name = f"{prefix}{tensor.name}"
    for node in [node for part in parts for node in part.nodes]:
        node.name = f"{prefix}{node.name}"
        for index, tensor in enumerate(node.inputs):
            if tensor is image:
                node.inputs[index] = student.image
    for tensor in tensors.values():
        if isinstance(tensor, gs.Constant):
            # Its own array: the original's is that of the student, whose weights training moves.
            tensor.values = np.array(tensor.values)
            student.roles[tensor.name] = Role.TEACHER
    student.graph.nodes += list(copy.graph.nodes)
    return tensors


def _each(parts: Sequence[gs.Graph]) -> Iterator[gs.Tensor]:
    """Every named tensor once, those of subgraphs too."""
    ends = (
        tensor
        for part in parts
        for tensors in (part.inputs, part.outputs, *(ts for n in part.nodes for ts in (n.inputs, n.outputs)))
        for tensor in tensors
    )
    yield from {id(tensor): tensor for tensor in ends if not tensor.is_empty()}.values()


def _mean(student: Model, logits: Sequence[gs.Tensor]) -> gs.Tensor:
    if len(logits) == 1:
        return logits[0]
    name = f"{TEACHER_PREFIX}mean"
    mean = gs.Variable(name, np.float32, logits[0].shape)
    student.graph.nodes.append(gs.Node("Mean", name, {}, list(logits), [mean]))
    return mean
