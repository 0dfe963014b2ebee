"""``onnxcomp lint``: will the target take a file, and run it in INT8."""

from __future__ import annotations

from pathlib import Path

import click

from onnxcomp.commands import options


@click.command("lint")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@options.target
@options.as_json
@click.pass_context
def command(context: click.Context, path: Path, target: str, as_json: bool) -> None:
    """Check whether TARGET parses FILE, an ONNX file from any tool, and runs it in INT8.

    Nothing of the target is needed: the rules are those of its parser and its documents. Polygraphy also runs
    the file in ONNX Runtime. Exits with 1 where there is an error; warnings alone are 0.

    \b
    Example:
      onnxcomp lint d.onnx --target xavier
    """
    from onnxcomp.deploy.lint import report as reports
    from onnxcomp.deploy.lint.linter import lint
    from onnxcomp.deploy.targets import get_target
    from onnxcomp.report.console import console, table, to_json

    report = lint(path, get_target(target))
    if as_json:
        counts = {"errors": report.errors, "warnings": report.warnings}
        click.echo(to_json({"file": str(path), "report": report, **counts}))
    else:
        title = f"{path} for {report.target}: {report.description}"
        if report.findings:
            table(title, reports.COLUMNS, reports.rows(report))
        lines = [] if report.findings else [title]
        for line in [*lines, *reports.advice(report), *reports.summary(report)]:
            console().print(line, markup=False, soft_wrap=True)
    if report.errors:
        context.exit(1)
