"""The bytes that a viewer is given: a copy of the file with marks on its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxcomp import intake
from onnxcomp import model as models
from onnxcomp.errors import ModelError
from onnxcomp.view.marks import annotate, marks


@dataclass(frozen=True)
class Shown:
    """A network for a viewer.

    Attributes:
        data: an ONNX file; external data is inside.
        nodes: how many it has.
        added: those of them that passes added.
        unmarked: why there are no marks; ``""`` where there are.
    """

    data: bytes
    nodes: int
    added: int
    unmarked: str


def shown(path: Path) -> Shown:
    """Read a file and mark its nodes; the file stays as it is.

    A network outside onnxcomp's ground, with two inputs say, is shown without marks.

    Raises:
        ModelError: the file is missing, damaged, not ONNX, or 2 GiB or more with its external data.
    """
    proto = intake.read(path)
    added, unmarked = 0, ""
    try:
        found = marks(models.from_proto(proto, where=str(path)))
    except ModelError as error:
        unmarked = str(error)
    else:
        annotate(proto, found)
        added = sum("pass" in mark.facts for mark in found.values())
    try:
        return Shown(proto.SerializeToString(), len(proto.graph.node), added, unmarked)
    except Exception as error:  # protobuf's EncodeError, whose module differs between versions
        raise ModelError(
            "is 2 GiB or more with its external data", where=str(path), fix="choose a smaller network"
        ) from error
