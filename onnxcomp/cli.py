"""The command line: a lazy group of commands, and one place where user errors become one line."""

from __future__ import annotations

import importlib
import sys

import click

from onnxcomp import __version__
from onnxcomp.errors import OnnxcompError

COMMANDS = (
    "export",
    "apply",
    "train",
    "finalize",
    "evaluate",
    "validate",
    "inspect",
    "compress",
    "demo",
)


class LazyGroup(click.Group):
    """Imports ``onnxcomp.commands.<name>`` only when that command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"onnxcomp.commands.{cmd_name}")
        command: click.Command = module.command
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onnxcomp")
def cli() -> None:
    """Compress an ONNX image classifier and prove that it still answers right."""


def main(args: list[str] | None = None) -> None:
    """Run the command line; exit code 0 done, 1 a check did not hold, 2 bad usage or input."""
    try:
        cli.main(args=args, prog_name="onnxcomp")
    except OnnxcompError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
