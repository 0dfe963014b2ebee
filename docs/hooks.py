"""What MkDocs does while it builds the site: the page of commands is written from their ``--help``."""

from __future__ import annotations

from typing import Any

import click

from onnxcomp.cli import cli
from onnxcomp.road import ROAD

PAGE, MARK = "commands.md", "<!-- commands -->"
WIDTH = 82  # characters that a line of code has room for


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put the commands, by the road, where the page has its mark."""
    if page.file.src_uri != PAGE:
        return markdown
    if MARK not in markdown:
        raise ValueError(f"{PAGE} has no {MARK}")
    return markdown.replace(MARK, "\n\n".join(_chapter(heading, names) for heading, names in ROAD.items()))


def _chapter(heading: str, names: tuple[str, ...]) -> str:
    return "\n\n".join([f"## {heading}", *(f"### `{name}`\n\n```text\n{_help(name)}\n```" for name in names)])


def _help(name: str) -> str:
    group = click.Context(cli, info_name="onnxcomp", terminal_width=WIDTH, **cli.context_settings)
    command = cli.get_command(group, name)
    assert command is not None
    return command.get_help(click.Context(command, group, name, terminal_width=WIDTH))
