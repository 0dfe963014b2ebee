"""``onnxcomp inspect``: what a file holds, layer by layer, and what differs from another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxcomp.commands import options

if TYPE_CHECKING:
    from onnxcomp.deploy.targets import Target
    from onnxcomp.report.inspection import Inspection
    from onnxcomp.report.selection import Selection

# As onnxcomp.graphs.WEIGHTED_OPS, onnxcomp.report.selection.KEYS and PRECISIONS, without loading them.
OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
SORTS = ("order", "name", "sparsity", "parameters", "macs")
PRECISIONS = ("fp32", "int8", "int8 weights", "int8 w+a")


@click.command("inspect")
@click.argument("path", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--sort", type=click.Choice(SORTS), default="order", show_default=True, help="Layers by this.")
@click.option(
    "--filter",
    "names",
    multiple=True,
    metavar="GLOB",
    help="Layers of such a name, as '*block4*'; repeated: or.",
)
@click.option(
    "--op", "ops", multiple=True, type=click.Choice(OPS), help="Layers of this operator; repeated: or."
)
@click.option(
    "--precision", type=click.Choice(PRECISIONS), help="Layers of this precision; int8: of both kinds."
)
@click.option(
    "--diff",
    "before",
    metavar="BEFORE",
    type=click.Path(path_type=Path),
    help="Show what differs in MODEL from this file instead.",
)
@options.target_of_savings
@click.option("--deflated", is_flag=True, help="Measure, too, how small the file gets through zlib.")
@options.as_json
def command(
    path: Path,
    sort: str,
    names: tuple[str, ...],
    ops: tuple[str, ...],
    precision: str | None,
    before: Path | None,
    target: str | None,
    deflated: bool,
    as_json: bool,
) -> None:
    """Show the form, interface, size and layers of MODEL, and what its zeros bring.

    Zeros are read through masks; MACs are for one image and count zeros as work. Numbers are sorted
    largest first. What is filtered is the list of layers; sums are of the whole network.

    \b
    Example:
      onnxcomp inspect d.onnx --target orin
      onnxcomp inspect d.onnx --sort sparsity --filter '*denseblock4*' --op Conv
      onnxcomp inspect --diff m.onnx d.onnx
    """
    from onnxcomp.deploy.targets import KINDS, get_target
    from onnxcomp.report.selection import Selection

    chosen = Selection(names, ops, precision, sort)
    if before is not None:
        if target is not None:
            raise click.UsageError("--diff and --target exclude each other")
        _show_difference(before, path, chosen, deflated, as_json)
        return
    targets = KINDS if target is None else (get_target(target),)
    _show(path, chosen, targets, target is not None, deflated, as_json)


def _show(
    path: Path, chosen: Selection, targets: Sequence[Target], one: bool, deflated: bool, as_json: bool
) -> None:
    from dataclasses import replace

    from onnxcomp.report import console
    from onnxcomp.report import inspection as report

    found = report.inspect(path, targets, deflate=deflated)
    shown = replace(found, layers=chosen.of(found.layers))
    if as_json:
        click.echo(console.to_json(shown))
        return
    columns, rows = report.layer_table(shown, targets[0] if one else None)
    left_out = len(found.layers) - len(rows)
    title = f"{len(rows)} of {len(found.layers)} layers" if left_out else ""
    console.table(title, columns, rows, optional=report.OPTIONAL_LAYER_COLUMNS)
    console.table(str(path), ("property", "value"), report.summary_rows(found))
    console.table("zeros and cuts", ("what", "how much"), _account(found, targets, one))


def _account(found: Inspection, targets: Sequence[Target], one: bool) -> list[tuple[str, str]]:
    from onnxcomp.report import accounting_rows

    account = accounting_rows.fact_rows(found)
    if one:
        return account + accounting_rows.target_rows(found, targets[0])
    return account + [accounting_rows.target_line(found, target) for target in targets]


def _show_difference(before: Path, after: Path, chosen: Selection, deflated: bool, as_json: bool) -> None:
    from onnxcomp.report import console, difference_rows
    from onnxcomp.report.difference import difference

    found = difference(before, after, deflate=deflated)
    if as_json:
        click.echo(console.to_json(difference_rows.as_json(found, chosen)))
        return
    layers = difference_rows.layer_rows(found, chosen)
    if layers:
        title = f"{len(layers)} of {len(found.layers)} layers, as they differ"
        console.table(title, difference_rows.LAYERS, layers, optional=difference_rows.OPTIONAL_LAYERS)
    nodes = difference_rows.node_rows(found)
    if nodes:
        console.table("nodes of one file only", difference_rows.NODES, nodes)
    console.table(f"{before} -> {after}", difference_rows.FACTS, difference_rows.fact_rows(found))
    if found.is_empty:
        click.echo("the networks are the same")
    else:
        click.echo(f"other values in {found.tensors_changed:,} of the {found.tensors:,} constants in both")
