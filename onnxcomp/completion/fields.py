"""The options of a pass and their values, read from its source: importing it takes longer than a Tab may."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path


def fields(location: str) -> dict[str, tuple[str, ...]]:
    """Options of a pass, each with the values that it may have, ``()`` where they are not a list of words.

    Args:
        location: ``module:Class``, as :func:`onnxcomp.passes.available` gives it.

    Returns:
        Nothing where the source is not there or is written in a way that is not followed.
    """
    module, _, name = location.partition(":")
    for _ in range(4):  # a package hands the class on from the module that holds it
        path = _path(module)
        if path is None:
            return {}
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for node in body:
            if isinstance(node, ast.ClassDef) and node.name == name:
                return _annotated(node)
        sources = [node.module for node in body if isinstance(node, ast.ImportFrom) and _gives(node, name)]
        if not sources or sources[0] is None:
            return {}
        module = sources[0]
    return {}


def _path(module: str) -> Path | None:
    """The file of a module, found without importing what is around it."""
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.origin is None:
        return None
    place = Path(spec.origin) if not rest else Path(spec.origin).parent.joinpath(*rest)
    found = (path for path in (place, place.with_suffix(".py"), place / "__init__.py") if path.is_file())
    return next(found, None)


def _gives(node: ast.ImportFrom, name: str) -> bool:
    return not node.level and any(alias.name == name for alias in node.names)


def _annotated(node: ast.ClassDef) -> dict[str, tuple[str, ...]]:
    found = {}
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            kind = ast.unparse(part.annotation)
            if not kind.startswith("ClassVar"):
                found[part.target.id] = _values(part.annotation, kind)
    return found


def _values(annotation: ast.expr, kind: str) -> tuple[str, ...]:
    if kind.split(" | ")[0] == "bool":
        return ("true", "false")
    if not kind.startswith("Literal["):
        return ()
    constants = (node.value for node in ast.walk(annotation) if isinstance(node, ast.Constant))
    return tuple(value for value in constants if isinstance(value, str))
