"""``onnxcomp estimate``: how long a file would take on a device that is not at hand."""

from __future__ import annotations

from pathlib import Path

import click

from onnxcomp.commands import devices, options
from onnxcomp.visible import visible


@click.command("estimate")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@options.target
@devices.batch
@click.option("--fp16/--no-fp16", default=True, show_default=True, help="For layers that are not INT8.")
@click.option("--sparse/--dense", default=True, show_default=True, help="Kernels for 2:4 sparse weights.")
@click.option(
    "--layers", type=click.IntRange(min=0), default=10, show_default=True, help="To show; 0 for all."
)
@options.as_json
def command(
    path: Path, target: str, batch: int | None, fp16: bool, sparse: bool, layers: int, as_json: bool
) -> None:
    """Estimate what TARGET would make of FILE: fused layers, the type of each, a roofline time, the total.

    Nothing is measured: operations and bytes are held against the target's rates. It shows which layers
    matter and what would change most; for real numbers see onnxcomp profile.

    \b
    Example:
      onnxcomp estimate d.onnx --target xavier
    """
    from onnxcomp.deploy.estimate import estimate, rows
    from onnxcomp.deploy.targets import get_target
    from onnxcomp.report.console import table, to_json, working

    with working(f"estimating {path}"):
        found = estimate(path, get_target(target), batch=batch or 1, fp16=fp16, sparse=sparse)
    if as_json:
        click.echo(to_json(found))
        return
    title = f"{path} on {found.device}: estimate, the {layers or len(found.layers)} layers that take most"
    table(title, rows.COLUMNS, rows.rows(found, layers), optional=rows.OPTIONAL)
    for line in rows.lines(found):
        click.echo(visible(line))
