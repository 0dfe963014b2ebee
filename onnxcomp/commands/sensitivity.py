"""``onnxcomp sensitivity``: what each layer costs when it alone is compressed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxcomp import files
from onnxcomp.commands import options
from onnxcomp.errors import OnnxcompError

if TYPE_CHECKING:
    from onnxcomp.sensitivity.curves import Curves
    from onnxcomp.sensitivity.measure import Measurement, Split

LISTED = 10


@click.command("sensitivity")
@click.argument("path", metavar="MODEL", type=click.Path(path_type=Path))
@options.data(required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--plot", type=click.Path(path_type=Path), help="PNG file to write (needs matplotlib).")
@click.option(
    "--sparsities",
    metavar="LIST",
    help="Shares of zeros; default: 0.5,0.7,0.8,0.9,0.95, or what an N:M pattern gives.",
)
@click.option("--criterion", default="magnitude", show_default=True, help="As of the pass prune.")
@click.option("--pattern", default="unstructured", show_default=True, help="As of the pass prune.")
@click.option(
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Leave out weights or nodes of this name (as a shell's).",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Use that many, evenly spaced.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "test"]),
    default="train",
    show_default=True,
    help="Where they come from; sparsities that are chosen on test images make their accuracy flatter.",
)
@options.preprocess
@options.threads
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder of what was measured before; default: onnxcomp/sensitivity in the user's cache folder.",
)
@options.as_json
def command(
    path: Path,
    data: str,
    output: Path | None,
    plot: Path | None,
    sparsities: str | None,
    criterion: str,
    pattern: str,
    exclude: tuple[str, ...],
    images: int,
    split: Split,
    preprocess: str | None,
    threads: int | None,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Prune one layer of MODEL at a time and measure the network: top-1 accuracy and mean cross-entropy.

    Every layer is pruned to each of the sparsities while the others stay dense; nothing is trained. What was
    measured is kept: a call that asks for more sparsities measures only those, and one that was interrupted
    goes on where it stopped. `onnxcomp apply prune` reads the JSON file with prune.allocation=sensitivity.

    \b
    Example:
      onnxcomp sensitivity m.onnx --data cifar10 -o s.json --plot s.png
    """
    from onnxcomp import model as models
    from onnxcomp.data import open_data
    from onnxcomp.report import console
    from onnxcomp.sensitivity import curves
    from onnxcomp.sensitivity import plot as plots
    from onnxcomp.sensitivity.cache import default_root
    from onnxcomp.sensitivity.measure import open_measurement
    from onnxcomp.sensitivity.way import Way, read_sparsities

    shares = () if sparsities is None else read_sparsities(sparsities)
    way = Way(criterion, pattern, shares, exclude)
    for written in (output, plot):
        if written is not None:
            files.check_writable(written, keep=path)
    if plot is not None:
        if output is not None and output.absolute() == plot.absolute():
            raise OnnxcompError(
                "is to hold the curves and the picture", where=str(plot), fix="name another output"
            )
        plots.require()
    model = models.load(path)
    options.set_preprocessing(model, preprocess)
    data_set = open_data(data)
    options.fit_to_data(model, data_set, path)
    with options.about(path) as shown:
        measurement = open_measurement(
            shown(model), data_set, way, images=images, split=split, root=cache or default_root()
        )
        with options.resumable(resume=True):  # the cache is what the same words go on from
            _measure(measurement, threads)
    found = measurement.curves()
    if output is not None:
        curves.save(found, output)
    if plot is not None:
        plots.draw(found, plot)
    if as_json:
        click.echo(console.to_json(curves.to_json(found)))
        return
    console.table(*_table(path, found))
    _say_rest(found, output)


def _measure(measurement: Measurement, threads: int | None) -> None:
    """Fill in what is missing, and tell how far it is."""
    from onnxcomp import runtime
    from onnxcomp.report import console

    if measurement.damaged:
        first, count = measurement.damaged[0], len(measurement.damaged)
        click.echo(
            f"{count} damaged in the cache, measured anew: {first}{' ...' if count > 1 else ''}", err=True
        )
    missing, total = len(measurement.missing), len(measurement.places)
    if not missing:
        click.echo(f"all {total} points are known: {measurement.cache.folder}", err=True)
        return
    threads = threads or runtime.default_threads()
    with console.bars() as show:
        alone = measurement.prepare(threads=threads, show=show)
    with console.progress(f"measuring {missing} of {total} points, %", 100) as advance:
        shown = 0

        def tell(share: float) -> None:
            nonlocal shown
            percent = int(100 * share)
            if percent > shown:
                advance(percent - shown)
                shown = percent

        measurement.fill(alone, threads=threads, progress=tell)


def _table(path: Path, found: Curves) -> tuple[str, list[str], list[list[str]]]:
    """The most sensitive layers: points of top-1 accuracy lost at each sparsity."""
    title = (
        f"{path}: points of top-1 lost by pruning one layer"
        f" ({found.images:,} {found.data}; dense {found.dense.top1:.2f} %)"
    )
    columns = ["most sensitive", *(f"{100 * share:g} %" for share in found.sparsities), "loss rises by"]
    rows = [
        [name, *(f"{found.drop(name, share):.2f}" for share in found.sparsities), f"{found.rise(name):.4f}"]
        for name in found.by_sensitivity()[:LISTED]
    ]
    return title, columns, rows


def _say_rest(found: Curves, output: Path | None) -> None:
    more = len(found.layers) - LISTED
    if more > 0:
        click.echo(f"and {more} more" + ("" if output else " (-o writes all)"))
    for name, reason in found.left.items():
        if reason:
            click.echo(f"left out: {name} ({reason})")
    if output is not None:
        click.echo(f"wrote {output}")
