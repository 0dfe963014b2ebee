"""The command line: a lazy group of commands, and one place where errors become one line."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from typing import NoReturn

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

# As a shell reports a process that SIGINT or SIGPIPE ended; 0, 1 and 2 have meanings of their own.
INTERRUPTED, BROKEN_PIPE = 130, 141


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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            nearest = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"choose from {', '.join(COMMANDS)}"
            ctx.fail(f"there is no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="onnxcomp")
@click.pass_context
def cli(context: click.Context) -> None:
    """Compress an ONNX image classifier and prove that it still answers right."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help(), err=True)
        context.exit(2)


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Exit codes: 0 done, 1 a check did not hold, 2 bad usage or input (one line on stderr),
    130 interrupted, 141 the reader of the output went away.
    """
    try:
        code = _run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        code = BROKEN_PIPE
    if code == BROKEN_PIPE:
        # Python flushes stdout once more while it exits, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run(args: list[str] | None) -> int:
    stdout = sys.stdout
    try:
        result = cli.main(args=args, prog_name="onnxcomp", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except OnnxcompError as error:
        click.echo(f"Error: {error}", err=True)
        return 2
    except click.ClickException as error:
        click.echo(f"Error: {_usage_line(error)}", err=True)
        return 2
    except click.Abort:
        click.echo("Interrupted", err=True)
        return INTERRUPTED
    except SystemExit as stop:
        # click and rich turn a broken pipe into exit code 1, which here means a failed check.
        # click puts a wrapper in stdout's place first; rich exits while it handles the error.
        if sys.stdout is not stdout or isinstance(stop.__context__, BrokenPipeError):
            return BROKEN_PIPE
        raise


def _usage_line(error: click.ClickException) -> str:
    line = " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{line} (see {context.command_path} --help)" if context else line


if __name__ == "__main__":
    main()
