"""A recipe: passes with their options, as text and ``--set`` overrides (YAML: :mod:`onnxcomp.recipe_file`).

Text: ``prune{sparsity=0.9 exclude=["features.conv0*"]},qat,distill{alpha=0.5}``. Values are JSON;
``parse(str(recipe)) == recipe``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from onnxcomp import passes
from onnxcomp.errors import RecipeError
from onnxcomp.nearest import meant

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from onnxcomp.passes.base import Pass

_NAME = re.compile(r"\s*([A-Za-z_][\w-]*)\s*")
_WORD = re.compile(r"[^\s{},]+")


@dataclass(frozen=True)
class Recipe:
    """Passes in the order in which they are applied."""

    passes: tuple[Pass, ...] = ()

    def __str__(self) -> str:
        return ",".join(_pass_text(step) for step in self.passes)

    def __add__(self, other: Recipe) -> Recipe:
        return Recipe(self.passes + other.passes)

    def find(self, name: str) -> Pass | None:
        """The pass called ``name``, or None."""
        return next((step for step in self.passes if step.name == name), None)

    def check_order(self) -> None:
        """Each pass at most once, and only after passes that it may follow.

        Raises:
            RecipeError: names the two passes and the legal order.
        """
        for index, step in enumerate(self.passes):
            for earlier in self.passes[:index]:
                if earlier.name == step.name:
                    raise RecipeError(
                        f"the pass {step.name} is applied twice",
                        fix=f"leave the second {step.name} out",
                    )
                if earlier.name not in step.follows and step.name not in earlier.precedes:
                    raise RecipeError(
                        f"{step.name} cannot follow {earlier.name}",
                        fix=f"write {step.name} before {earlier.name}",
                    )


def parse(text: str) -> Recipe:
    """Read a recipe's text form.

    Raises:
        RecipeError: a syntax error, an unknown pass or option, or a value out of range.
    """
    steps = []
    position = 0
    while position < len(text):
        match = _NAME.match(text, position)
        if not match:
            raise _syntax(text, position, "a pass name is expected")
        position = match.end()
        options: dict[str, Any] = {}
        if text[position : position + 1] == "{":
            options, position = _parse_options(text, position + 1)
        steps.append(build(match.group(1), options))
        rest = text[position:].lstrip()
        if rest and not rest.startswith(","):
            raise _syntax(text, position, "a comma is expected")
        position = len(text) - len(rest) + 1
    if not steps:
        raise RecipeError("no pass is named", where="recipe", fix="for example: prune,qat,distill")
    return Recipe(tuple(steps))


def _parse_options(text: str, position: int) -> tuple[dict[str, Any], int]:
    options: dict[str, Any] = {}
    while True:
        rest = text[position:].lstrip()
        if options and rest.startswith(","):  # as people write lists; spaces alone do too
            rest = rest[1:].lstrip()
        position = len(text) - len(rest)
        if rest.startswith("}"):
            return options, position + 1
        match = _NAME.match(text, position)
        if not match or text[match.end() : match.end() + 1] != "=":
            raise _syntax(text, position, "name=value or } is expected")
        if match.group(1) in options:
            raise _syntax(text, position, f"{match.group(1)} is given twice")
        options[match.group(1)], position = _parse_value(text, match.end() + 1)


def _parse_value(text: str, position: int) -> tuple[Any, int]:
    try:
        value, end = json.JSONDecoder().raw_decode(text, position)
        if end == len(text) or text[end] in " ,}\t\n":
            return value, end
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or too deep
        pass
    match = _WORD.match(text, position)
    if not match:
        raise _syntax(text, position, "a value is expected")
    return match.group(), match.end()


def _syntax(text: str, position: int, what: str) -> RecipeError:
    shown = text[position : position + 12] or "the end"
    return RecipeError(
        f"{what} at column {position + 1}, before {shown!r}",
        where="recipe",
        fix="write it as prune{sparsity=0.9},qat",
    )


def build(name: str, options: Mapping[str, Any]) -> Pass:
    """Make one pass from its name and options, validated and converted to the fields' types.

    Raises:
        RecipeError: names the option, what is wrong with it, and the nearest known name.
    """
    kind = passes.find(name)
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for option in options:
        if option not in known:
            raise RecipeError(
                f"unknown option {option}",
                where=name,
                fix=meant(option, known, f"the options are {', '.join(known)}", alike=0.5),
            )
    try:
        made: Pass = TypeAdapter(kind).validate_python(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise RecipeError(
            f"{option} is {first['input']!r}: {first['msg'].removeprefix('Value error, ')}",
            where=name,
            fix=_fix(first, f"set {name}.{option} anew"),
        ) from error
    return made


def _fix(error: ErrorDetails, otherwise: str) -> str:
    """The word that is nearest to one that an option does not have."""
    if error["type"] != "literal_error":
        return otherwise
    words = re.findall(r"'([^']*)'", error["ctx"]["expected"])
    return meant(str(error["input"]), words, otherwise)


def _pass_text(step: Pass) -> str:
    changed = []
    for field in fields(step):  # type: ignore[arg-type]
        value = getattr(step, field.name)
        if value != (field.default if field.default_factory is MISSING else field.default_factory()):
            changed.append(f"{field.name}={json.dumps(plain(value))}")
    return f"{step.name}{{{' '.join(changed)}}}" if changed else step.name


def plain(value: Any) -> Any:
    """An option's value as JSON and YAML hold it; of an option with parts of its own, what differs."""
    if is_dataclass(value) and not isinstance(value, type):
        parts = {field.name: (getattr(value, field.name), field.default) for field in fields(value)}
        return {name: plain(part) for name, (part, default) in parts.items() if part != default}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Apply ``--set pass.option=value`` overrides.

    Raises:
        RecipeError: malformed, or the pass is not in the recipe.
    """
    changes: dict[str, dict[str, Any]] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        name, dot, option = key.strip().partition(".")
        if not equals or not dot:
            raise RecipeError(
                f"{setting!r} is not pass.option=value", where="--set", fix="for example prune.sparsity=0.9"
            )
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = text
        changes.setdefault(name, {})[option] = value
    for name in changes:
        if recipe.find(name) is None:
            passes.find(name)  # an unknown name gets its own message
            raise RecipeError(
                f"the recipe has no pass {name}", where="--set", fix=f"add {name} to the recipe"
            )
    return Recipe(tuple(_changed(step, changes.get(step.name, {})) for step in recipe.passes))


def _changed(step: Pass, options: Mapping[str, Any]) -> Pass:
    current = {field.name: getattr(step, field.name) for field in fields(step)}  # type: ignore[arg-type]
    build(step.name, options)  # names the option as the user wrote it
    return build(step.name, {**current, **options})
