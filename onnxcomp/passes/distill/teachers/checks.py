"""Whether a network can teach another: the same classes, and images that it can be given."""

from __future__ import annotations

from onnxcomp.errors import PassError
from onnxcomp.model import Model
from onnxcomp.opset_up import raise_opset
from onnxcomp.passes.distill.teachers.batch import free_batch


def check(teacher: Model, student: Model, *, resize: bool) -> None:
    """Refuse a teacher that does not fit; both are left as they are.

    Args:
        teacher: as :func:`.read` gives it.
        resize: whether images may be scaled to the teacher's size.

    Raises:
        PassError: another number of classes or other names of them, other channels, or another image size
            although ``resize`` is False; it says how it normalises or names its classes, and the network
            does not.
        ModelError: it only runs at the batch that it was exported with, or one of the two cannot be brought
            to the opset of the other.
    """
    fits(teacher, student, resize=resize)
    where = name_of(teacher)
    free_batch(teacher.copy(), allowed=student.batch, where=where)
    opset = max(teacher.graph.opset, student.graph.opset)
    for network, name in ((teacher, where), (student, "distill: the network")):
        if network.graph.opset < opset:
            raise_opset(network.graph.copy(), opset, where=name)


def fits(teacher: Model, student: Model, *, resize: bool) -> None:
    """The part of :func:`check` that compares what the two say of themselves.

    Raises:
        PassError: as there.
    """
    where = name_of(teacher)
    _check_classes(teacher, student, where)
    _check_known(teacher, student, where)
    _check_images(teacher, student, resize, where)


def name_of(teacher: Model) -> str:
    """What error messages call it."""
    return f"distill: teacher {teacher.graph.name}"


def _check_classes(teacher: Model, student: Model, where: str) -> None:
    if teacher.num_classes != student.num_classes:
        raise PassError(
            f"has {teacher.num_classes} classes, the network {student.num_classes}",
            where=where,
            fix="give a teacher of the network's classes",
        )
    own, others = teacher.classes, student.classes
    if not own or not others or own == others:
        return
    for index, name in enumerate(own):
        if name not in others:
            what = f"its class {index} is {name!r}, which the network does not have"
        elif name in own[:index]:
            what = f"its class {index} is {name!r} again"
        else:
            continue
        raise PassError(what, where=where, fix="give a teacher of the network's classes")


def _check_known(teacher: Model, student: Model, where: str) -> None:
    """What the teacher says of itself can only be followed where the network says the same of itself."""
    if teacher.preprocessing is not None and student.preprocessing is None:
        raise PassError(
            "says how its images are normalised, and the network does not",
            where=where,
            fix="give --data or --preprocess, so that it is known how the two differ",
        )
    if teacher.classes and not student.classes:
        raise PassError(
            "names its classes, and the network does not",
            where=where,
            fix="give --data, so that their order is known",
        )


def _check_images(teacher: Model, student: Model, resize: bool, where: str) -> None:
    (channels, *size), (own_channels, *own_size) = teacher.image_shape, student.image_shape
    if channels != own_channels:
        raise PassError(
            f"takes images of {channels} channel{'s' * (channels > 1)}, the network of {own_channels}",
            where=where,
            fix="give a teacher for the network's images",
        )
    if size != own_size and not resize:
        shown, own = ("x".join(map(str, pair)) for pair in (size, own_size))
        raise PassError(
            f"takes images of {shown}, the network of {own}",
            where=where,
            fix="let it see them scaled: --set distill.resize=true",
        )
