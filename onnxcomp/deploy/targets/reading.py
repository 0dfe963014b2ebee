"""Targets from YAML: those of the catalogue, and a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from onnxcomp.deploy.targets.target import Target
from onnxcomp.errors import OnnxcompError
from onnxcomp.yaml_file import read_yaml

LIKE = "like"


ADAPTER = TypeAdapter(Target)


def read_all(path: Path) -> dict[str, Target]:
    """The targets of a list, by name; one may be ``like`` an earlier one and say only what differs.

    Raises:
        OnnxcompError: the file is damaged; says where.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for entry in read_yaml(path):
        found[entry["name"]] = _complete(entry, found, str(path))
    return {name: _checked(entry, f"{path}: {name}") for name, entry in found.items()}


def read_one(path: Path, known: Mapping[str, Target]) -> Target:
    """The target in a user's file, which may be ``like`` one of ``known``.

    Raises:
        OnnxcompError: the file cannot be read, or says something that is no target; names the field.
    """
    entry = read_yaml(path)
    if not isinstance(entry, dict):
        raise OnnxcompError(
            "holds no target", where=str(path), fix="write field: value lines, such as like: orin"
        )
    plain = {name: ADAPTER.dump_python(target) for name, target in known.items()}
    return _checked(_complete({"name": path.stem, **entry}, plain, str(path)), str(path))


def _complete(entry: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]], where: str) -> dict[str, Any]:
    """With the fields of the target that it is like."""
    if LIKE not in entry:
        return dict(entry)
    like = entry[LIKE]
    if not isinstance(like, str) or like not in known:
        raise OnnxcompError(
            f"is like {like}, which is no target", where=where, fix=f"choose {', '.join(known)}"
        )
    return {**known[like], **{name: value for name, value in entry.items() if name != LIKE}}


def _checked(entry: Mapping[str, Any], where: str) -> Target:
    try:
        return ADAPTER.validate_python(dict(entry))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise OnnxcompError(
            f"{name}: {first['msg']}", where=where, fix="see onnxcomp targets xavier"
        ) from error
