"""``onnxcomp inspect``: what a file holds, layer by layer."""

from __future__ import annotations

from pathlib import Path

import click

from onnxcomp.commands import options


@click.command("inspect")
@click.argument("path", metavar="MODEL", type=click.Path(path_type=Path))
@options.target_of_savings
@options.as_json
def command(path: Path, target: str | None, as_json: bool) -> None:
    """Show the form, interface, size and layers of MODEL, and what its zeros bring.

    Zeros are read through masks; MACs are for one image and count zeros as work.

    \b
    Example:
      onnxcomp inspect d.onnx --target orin
    """
    from onnxcomp.deploy.targets import TARGETS, get_target
    from onnxcomp.report import accounting_rows, console
    from onnxcomp.report import inspection as report

    chosen = None if target is None else get_target(target)
    targets = tuple(TARGETS.values()) if chosen is None else (chosen,)
    found = report.inspect(path, targets)
    if as_json:
        click.echo(console.to_json(found))
        return
    columns, rows = report.layer_table(found, chosen)
    console.table("", columns, rows, optional=report.OPTIONAL_LAYER_COLUMNS)
    console.table(str(path), ("property", "value"), report.summary_rows(found))
    account = accounting_rows.fact_rows(found)
    if chosen is None:
        account += [accounting_rows.target_line(found, target) for target in targets]
    else:
        account += accounting_rows.target_rows(found, chosen)
    console.table("zeros and cuts", ("what", "how much"), account)
