"""``onnxcomp export``: write a network that onnxcomp knows as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxcomp.commands import options
from onnxcomp.models import NAMES, STEMS

if TYPE_CHECKING:
    from onnxcomp.models.export import Summary


@click.command("export")
@click.argument("name", type=click.Choice(list(NAMES)))
@options.output
@click.option("--num-classes", type=int, help="Number of classes.  [default: of --classes, or 1000]")
@click.option(
    "--input-size",
    type=int,
    help="Height and width of the image.  [default: 224, or 32 with the stem cifar]",
)
@click.option(
    "--stem",
    type=click.Choice(STEMS),
    help="First layers: those made for 224x224, which shrink the image, or for 32x32, which keep it;"
    " of VGG the last: three or one; LeNet and ViT have one form.  [default: the network's own]",
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
    metavar="NAME|MEAN/STD",
    help="How images were normalised: cifar10, imagenet, or means/deviations in units of 0..255."
    "  [default: as the stem]",
)
@click.option("--classes", metavar="NAME|A,B,...", help="Class names in the order of the logits, or cifar10.")
@click.option(
    "--fold-bn", "fold", is_flag=True, help="Fold each BatchNormalization into the convolution before it."
)
@options.as_json
def command(name: str, output: Path, as_json: bool, **settings: Any) -> None:
    """Write the network NAME as ONNX, with random weights or those of a file.

    \b
    Example:
      onnxcomp export resnet18 -o m.onnx --num-classes 10 --input-size 32
      onnxcomp export densenet201 -o m.onnx --weights densenet201.safetensors
    """
    from onnxcomp.models.export import export
    from onnxcomp.report import console

    with console.working(f"building {name}"):
        summary = export(name, output, **settings)
    if as_json:
        click.echo(console.to_json(summary))
    else:
        console.table(str(output), ("property", "value"), _rows(summary))


def _rows(summary: Summary) -> list[tuple[str, str]]:
    from onnxcomp.report.inspection import byte_text

    preprocessing, size = summary.preprocessing, summary.input_size
    rows = [
        ("network", f"{summary.name}, stem {summary.stem}"),
        ("input", f"Nx{len(preprocessing.mean)}x{size}x{size}"),
        ("classes", str(summary.num_classes)),
        ("parameters", f"{summary.parameters:,}"),
        ("weights", summary.weights or f"random, seed {summary.seed}"),
        ("mean", ", ".join(f"{value:g}" for value in preprocessing.mean)),
        ("deviation", ", ".join(f"{value:g}" for value in preprocessing.std)),
        ("file size", byte_text(summary.bytes)),
    ]
    if summary.folded:
        rows.insert(4, ("folded", f"{summary.folded} BatchNormalization"))
    if summary.classes:
        rows.insert(3, ("class names", ", ".join(summary.classes)))
    return rows
