"""The command line: a lazy group of commands, and one place where errors become one line."""

from __future__ import annotations

import errno
import importlib
import os
import re
import sys
import traceback
from typing import Any, NoReturn

import click

from onnxcomp import __version__, launcher
from onnxcomp.errors import OnnxcompError
from onnxcomp.interrupts import Interrupted, Signals
from onnxcomp.nearest import meant
from onnxcomp.road import ROAD, WELCOME

COMMANDS = tuple(name for names in ROAD.values() for name in names)
SENTENCE = 200  # most characters of a command's first sentence in the list of commands

# As a shell reports a process that SIGINT or SIGPIPE ended; 0, 1 and 2 have meanings of their own.
INTERRUPTED, BROKEN_PIPE = 130, 141


class _StoppedError(Exception):
    """Carries :class:`Interrupted` past click, which would forget what it says."""

    def __init__(self, interrupted: Interrupted) -> None:
        self.interrupted = interrupted
        super().__init__()


class LazyGroup(click.Group):
    """Imports ``onnxcomp.commands.<name>`` only when that command is asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except Interrupted as interrupted:
            raise _StoppedError(interrupted) from interrupted

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"onnxcomp.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, names in ROAD.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            records = [(name, command.get_short_help_str(SENTENCE)) for name, command in commands if command]
            with formatter.section(heading):
                formatter.write_dl(records, col_max=30)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-") and not ctx.resilient_parsing:
            hint = meant(name, COMMANDS, f"choose from {', '.join(COMMANDS)}")
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
        click.echo(WELCOME, nl=False, err=True)
        context.exit(2)  # nothing was asked and nothing done: a script whose variable is empty is to notice


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Exit codes: 0 done, 1 a check did not hold, 2 bad usage or input (one line on stderr),
    130 interrupted, 143 asked to end, 141 the reader of the output went away.
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
    words = list(sys.argv[1:] if args is None else args)
    if "_ONNXCOMP_COMPLETE" in os.environ:
        importlib.import_module("onnxcomp.completion.shells").register()
    try:
        with Signals() as signals, signals.at_once():  # SIGTERM, too, lets files be cleaned up
            result = cli.main(args=args, prog_name="onnxcomp", standalone_mode=False, obj=words)
        return result if isinstance(result, int) else 0
    except OnnxcompError as error:
        return _end(f"Error: {error}", 2)
    except click.ClickException as error:
        return _end(f"Error: {_usage_line(error)}", 2)
    except _StoppedError as stopped:
        text = stopped.interrupted.text or "interrupted"
        return _end(text[0].upper() + text[1:], stopped.interrupted.code)
    except click.Abort:
        return _end("Interrupted", INTERRUPTED)
    except SystemExit as stop:
        # click and rich turn a broken pipe into exit code 1, which here means a failed check.
        # click puts a wrapper in stdout's place first; rich exits while it handles the error.
        if sys.stdout is not stdout or isinstance(stop.__context__, BrokenPipeError):
            return BROKEN_PIPE
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # whatever looks at a path first
            return _end(f"Error: {error.filename}: is too long for a name; give a shorter one", 2)
        if launcher.launch().size > 1:  # the others would wait for this one for ever
            traceback.print_exc()
            launcher.end_all(1)
        raise


def _end(line: str, code: int) -> int:
    """Say why, once for all processes of an MPI run, and end those."""
    launcher.wait_turn()
    click.echo(line, err=True)
    launcher.end_all(code)
    return code


def _usage_line(error: click.ClickException) -> str:
    line = _suggestion(error) or " ".join(error.format_message().split()).rstrip(".")
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{line} (see {context.command_path} --help)" if context else line


def _suggestion(error: click.ClickException) -> str:
    """What click says of an unknown option or value, but with one nearest name; else nothing."""
    if isinstance(error, click.NoSuchOption) and error.ctx is not None:
        known = [name for option in error.ctx.command.get_params(error.ctx) for name in _names(option)]
        near = meant(error.option_name, known, "", alike=0.7)
        return f"there is no option {error.option_name}{near and f'; {near}'}"
    kind = error.param.type if isinstance(error, click.BadParameter) and error.param else None
    if isinstance(kind, click.Choice) and isinstance(error, click.BadParameter) and error.param:
        given = re.match(r"'(.*)' is not one of", error.message)
        label = error.param.opts[-1] if isinstance(error.param, click.Option) else error.param.name.upper()
        if given:
            choices = [str(choice) for choice in kind.choices]
            fix = meant(given[1], choices, f"choose from {', '.join(choices)}")
            return f"{label}: there is no {given[1]!r}; {fix}"
    return ""


def _names(parameter: click.Parameter) -> list[str]:
    return [name for name in (*parameter.opts, *parameter.secondary_opts) if name.startswith("--")]


if __name__ == "__main__":
    main()
