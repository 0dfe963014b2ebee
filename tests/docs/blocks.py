"""The code blocks of a page, and the commands in them.

How a page is written so that its blocks can be run:

- ``sh``: commands, run line by line. ``console``: commands behind ``$``, with what they print.
- ``python``: run as a script.
- any language with ``title="NAME"``: a file of that name, which later blocks find.
- ``text``: output, or a drawing.
- ``<!-- not run: WHY -->`` above a block: not run, but its commands are parsed.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from tests.project import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
NOT_RUN = re.compile(r"<!-- not run: (\S.*?) -->")
TITLE = re.compile(r'\btitle="([^"]+)"')
ENDS = {"|", "||", "&&", ";", ">", ">>", "<", "&", ")"}


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        where: page and line, for messages.
        language: first word behind the fence.
        file: the name of the file that it is, or ``""``.
        text: what stands in it.
        reason: why it is not run, or ``""``.
    """

    where: str
    language: str
    file: str
    text: str
    reason: str


@dataclass(frozen=True)
class Command:
    """A line for the shell, with what it is to print (None: the page does not say)."""

    line: str
    prints: str | None = None


def blocks_of(page: Path) -> list[Block]:
    """The fenced blocks of ``page`` in their order; those in lists and quotes too."""
    found = []
    reason = ""
    for token in MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8")):
        if token.type == "fence":
            assert token.map is not None
            title = TITLE.search(token.info)
            language = token.info.split()[0] if token.info.split() else ""
            where = f"{page.name}:{token.map[0] + 1}"
            found.append(Block(where, language, title.group(1) if title else "", token.content, reason))
        match = NOT_RUN.fullmatch(token.content.strip()) if token.type == "html_block" else None
        reason = match.group(1) if match else ""
    return found


def commands_of(block: Block) -> list[Command]:
    """What a ``sh`` or ``console`` block has a shell do: lines, joined where they end in a backslash."""
    lines = iter(block.text.splitlines())
    if block.language == "sh":
        return [Command(line) for line in _joined(lines) if not line.startswith("#")]
    commands: list[Command] = []
    for line in lines:
        if line.startswith("$ "):
            first = line.removeprefix("$ ")
            while first.endswith("\\"):
                first += "\n" + next(lines)
            commands.append(Command(first, ""))
        else:
            assert commands, f"{block.where}: begins without $"
            commands[-1] = Command(commands[-1].line, f"{commands[-1].prints}{line}\n")
    return commands


def _joined(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        whole = line
        while whole.endswith("\\"):
            whole += "\n" + next(lines)
        if whole.strip():
            yield whole


def calls(line: str) -> list[list[str]]:
    """The words behind each ``onnxcomp`` of a line for the shell."""
    lexer = shlex.shlex(line.replace("\\\n", " "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = []
    open_call = False
    for word in lexer:
        if word in ENDS:
            open_call = False
        elif open_call:
            found[-1].append(word)
        elif Path(word).name == "onnxcomp":
            found.append([])
            open_call = True
    return found
