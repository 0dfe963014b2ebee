"""``onnxcomp completion``: what lets a shell complete commands, options and their values."""

from __future__ import annotations

import click

from onnxcomp.completion.shells import SHELLS, script


@click.command("completion")
@click.argument("shell", type=click.Choice(list(SHELLS)))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script with which SHELL completes commands, options, passes, targets, data and files.

    Its first lines say where to put it.

    \b
    Example:
      onnxcomp completion bash
    """
    click.echo(script(shell, context.find_root().command), nl=False)
