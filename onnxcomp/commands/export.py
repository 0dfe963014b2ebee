"""``onnxcomp export``: write a network that onnxcomp knows as an ONNX file."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxcomp.models import NAMES, STEMS

if TYPE_CHECKING:
    from onnxcomp.models.export import Summary


@click.command("export")
@click.argument("name", type=click.Choice(list(NAMES)))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, help="The ONNX file to write."
)
@click.option("--num-classes", type=int, help="Number of classes.  [default: of --classes, or 1000]")
@click.option(
    "--input-size",
    type=int,
    help="Height and width of the image.  [default: 224, or 32 with the stem cifar]",
)
@click.option(
    "--stem",
    type=click.Choice(STEMS),
    help="First layers: 7x7 of stride 2 and a pooling, or 3x3 of stride 1.  [default: the network's own]",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path),
    help="Weights with torchvision's names: .safetensors, or .pth where torch is installed."
    "  [default: random]",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the random weights.")
@click.option(
    "--preprocess",
    metavar="NAME|M,M,M/S,S,S",
    help="How images were normalised: cifar10, imagenet, or means/deviations in units of 0..255."
    "  [default: as the stem]",
)
@click.option("--classes", metavar="NAME|A,B,...", help="Class names in the order of the logits, or cifar10.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(name: str, output: Path, as_json: bool, **options: Any) -> None:
    """Write the network NAME as ONNX, with random weights or those of a file."""
    from onnxcomp.models.export import export

    summary = export(name, output, **options)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(summary)))
    else:
        _print_table(summary)


def _print_table(summary: Summary) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    preprocessing = summary.preprocessing
    size = summary.input_size
    rows = {
        "network": f"{summary.name}, stem {summary.stem}",
        "input": f"N x {len(preprocessing.mean)} x {size} x {size}",
        "classes": f"{summary.num_classes} {', '.join(summary.classes)}",
        "parameters": f"{summary.parameters:,}",
        "weights": summary.weights or f"random, seed {summary.seed}",
        "mean": ", ".join(f"{value:g}" for value in preprocessing.mean),
        "deviation": ", ".join(f"{value:g}" for value in preprocessing.std),
        "file": f"{summary.output}, {summary.bytes / 1e6:.1f} MB",
    }
    table = Table(show_header=False, box=None)
    for label, value in rows.items():
        table.add_row(label, Text(value.strip()))
    Console().print(table)
