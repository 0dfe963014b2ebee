"""A command whose help shows its options under headings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import click

GENERAL = "Options"


EXCUSE = "explain"
"""An eager flag of a command; with it no option is required."""


class ExcusableOption(click.Option):
    """A required option that may be left out where the command's flag :data:`EXCUSE` is given."""

    def process_value(self, ctx: click.Context, value: Any) -> Any:
        if self.required and ctx.params.get(EXCUSE) and self.value_is_missing(value):
            return None
        return super().process_value(ctx, value)


class SectionOption(ExcusableOption):
    """An option with the heading that it comes under."""

    def __init__(self, *args: Any, section: str = GENERAL, **options: Any) -> None:
        self.section = section
        super().__init__(*args, **options)


class SectionCommand(click.Command):
    """Writes ``Options`` first, then each further heading in the order of its first option."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        sections: dict[str, list[tuple[str, str]]] = defaultdict(list)
        sections[GENERAL] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and not isinstance(parameter, click.Argument):
                sections[getattr(parameter, "section", GENERAL)].append(record)
        for heading, records in sections.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def option(section: str, *names: str, **settings: Any) -> Callable[[Any], Any]:
    """``click.option`` under a heading."""
    return click.option(*names, cls=SectionOption, section=section, **settings)
