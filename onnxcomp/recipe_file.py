"""A recipe as a YAML file, for version control."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from onnxcomp.errors import RecipeError
from onnxcomp.recipe import Recipe, build, plain
from onnxcomp.yaml_file import read_yaml


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    passes: list[str | dict[str, dict[str, Any] | None]]


def load(path: Path) -> Recipe:
    """Read a recipe file: ``passes: [prune: {sparsity: 0.9}, qat]``.

    Raises:
        RecipeError: unreadable, an unknown key, or as for :func:`onnxcomp.recipe.parse`.
    """
    where = str(path)
    content = read_yaml(path, RecipeError)
    if not isinstance(content, dict):
        raise RecipeError(
            "holds no table", where=where, fix="write passes: and below it a list, - prune and so on"
        )
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise RecipeError(
            f"{key}: {first['msg']}", where=where, fix="the file holds one key, passes: a list of passes"
        ) from error
    steps = []
    for entry in file.passes:
        table = {entry: None} if isinstance(entry, str) else entry
        steps += [build(name, options or {}) for name, options in table.items()]
    if not steps:
        raise RecipeError("no pass is named", where=where, fix="for example passes: [prune, qat]")
    return Recipe(tuple(steps))


def dump(recipe: Recipe) -> str:
    """Write a recipe as the YAML that :func:`load` reads, every option spelled out."""
    entries = [
        {step.name: {f.name: plain(getattr(step, f.name)) for f in fields(step)}}  # type: ignore[arg-type]
        for step in recipe.passes
    ]
    return yaml.safe_dump({"passes": entries}, sort_keys=False)
