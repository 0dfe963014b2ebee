"""``onnxcomp lint``: will the target take a file, and run it in INT8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxcomp import files
from onnxcomp.commands import dry, options

if TYPE_CHECKING:
    from onnxcomp.deploy.lint.mend import Mended
    from onnxcomp.deploy.targets import Target


@click.command("lint")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@options.target
@click.option(
    "--fix",
    "output",
    type=click.Path(path_type=Path),
    help="Write FILE here with what can be mended without changing a number, and check that instead.",
)
@dry.option
@options.as_json
@click.pass_context
def command(
    context: click.Context, path: Path, target: str, output: Path | None, dry_run: bool, as_json: bool
) -> None:
    """Check whether TARGET parses FILE, an ONNX file from any tool, and runs it in INT8.

    Nothing of the target is needed: the rules are those of its parser and its documents. Polygraphy also runs
    the file in ONNX Runtime. Exits with 1 where there is an error; warnings alone are 0.

    \b
    Example:
      onnxcomp lint d.onnx --target xavier
      onnxcomp lint other.onnx --target xavier --fix mended.onnx
    """
    from onnxcomp.deploy.lint import report as reports
    from onnxcomp.deploy.lint.linter import lint
    from onnxcomp.deploy.targets import get_target
    from onnxcomp.outlook import Outlook
    from onnxcomp.report.console import console, table, to_json, working

    chosen, mended = get_target(target), None
    if dry_run and output is None:
        raise click.UsageError("--dry-run is for --fix: without it nothing is written.")
    if output is not None:
        with working(f"mending {path}"):
            mended = _mended(path, chosen, output)
        if dry_run:
            told = (*(mended.done or ("nothing to mend",)), *mended.left)
            dry.tell(Outlook(told, (output,)), as_json=as_json)
            return
        files.write_atomically(output, lambda place: _write(place, mended.proto.SerializeToString()))
        path = output
    with working(f"checking {path}"):
        report = lint(path, chosen)
    if as_json:
        counts = {"errors": report.errors, "warnings": report.warnings}
        done = {} if mended is None else {"mended": mended.done, "not_mended": mended.left}
        click.echo(to_json({"file": str(path), "report": report, **counts, **done}))
    else:
        if mended is not None:
            for line in (*(mended.done or ("nothing to mend",)), *mended.left, f"wrote {path}"):
                console().print(line, markup=False, soft_wrap=True)
        title = f"{path} for {report.target}: {report.description}"
        if report.findings:
            table(title, reports.COLUMNS, reports.rows(report))
        lines = [] if report.findings else [title]
        for line in [*lines, *reports.advice(report), *reports.summary(report)]:
            console().print(line, markup=False, soft_wrap=True)
    if report.errors:
        context.exit(1)


def _mended(path: Path, target: Target, output: Path) -> Mended:
    from onnxcomp.deploy.lint.mend import mend

    files.check_writable(output, keep=path)
    return mend(path, target)


def _write(place: Path, data: bytes) -> None:
    place.write_bytes(data)
