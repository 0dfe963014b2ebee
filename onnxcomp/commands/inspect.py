"""``onnxcomp inspect``: what a file holds, layer by layer."""

from __future__ import annotations

from pathlib import Path

import click

from onnxcomp.commands import options


@click.command("inspect")
@click.argument("path", metavar="MODEL", type=click.Path(path_type=Path))
@options.as_json
def command(path: Path, as_json: bool) -> None:
    """Show the form, interface, size and layers of MODEL.

    Sparsity is read through masks; MACs are for one image and count zeros as work.

    \b
    Example:
      onnxcomp inspect d.onnx --json
    """
    from onnxcomp.report import console
    from onnxcomp.report import inspection as report

    found = report.inspect(path)
    if as_json:
        click.echo(console.to_json(found))
        return
    console.table("", report.LAYER_COLUMNS, report.layer_rows(found), optional=report.OPTIONAL_LAYER_COLUMNS)
    console.table(str(path), ("property", "value"), report.summary_rows(found))
