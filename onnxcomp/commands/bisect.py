"""``onnxcomp bisect``: which layers make a network answer worse."""

from __future__ import annotations

from pathlib import Path

import click

from onnxcomp.commands import options, pairs
from onnxcomp.visible import visible

WORST = 8
BATCH = 32


@click.command("bisect")
@click.argument("reference_path", metavar="REF", type=click.Path(path_type=Path))
@click.argument("candidate_path", metavar="CAND", type=click.Path(path_type=Path))
@options.data(required=True)
@click.option(
    "--by",
    type=click.Choice(("logits", "top-1")),
    default="logits",
    show_default=True,
    help="What is lost: exactness of the logits, or accuracy.",
)
@click.option(
    "--recover",
    type=click.FloatRange(0, 100, min_open=True),
    default=50,
    show_default=True,
    help="Share of the loss that the smallest set must bring back, in percent.",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    default=40,
    show_default=True,
    help="Most networks between REF and CAND to run for that set; more find a smaller one.",
)
@click.option(
    "--samples", type=click.IntRange(min=1), default=256, show_default=True, help="Test images to run."
)
@options.preprocess
@options.threads
@options.as_json
def command(
    reference_path: Path,
    candidate_path: Path,
    data: str,
    by: str,
    recover: float,
    trials: int,
    samples: int,
    preprocess: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Name the first node, and the smallest set of layers, that make CAND answer worse than REF.

    Layers of CAND are put back to REF's, by halves and one after the other, wherever both compute a tensor of
    the same name; each is also run alone on REF's tensors, which shows one that is wrong by itself. CAND may
    be pruned, quantised, in training or deployable form, or from another tool.

    \b
    Example:
      onnxcomp bisect m.onnx d.onnx --data cifar10
    """
    from onnxcomp import runtime
    from onnxcomp.bisect import bisect, rows
    from onnxcomp.data import evaluation_batches
    from onnxcomp.parity.sample import limited
    from onnxcomp.report import console

    reference, candidate, data_set = pairs.load(reference_path, candidate_path, data, preprocess)
    assert reference.preprocessing is not None
    channels, height, width = reference.image_shape
    batch = reference.batch or candidate.batch
    images = limited(data_set.test, samples)
    if batch is not None:
        images = limited(images, max(len(images) // batch, 1) * batch)
    size = (height, width)
    batches = list(evaluation_batches(images, size, reference.preprocessing, channels, batch or BATCH))
    with console.status() as show:
        found = bisect(
            reference,
            candidate,
            batches,
            threads=threads or runtime.default_threads(),
            by=by,  # type: ignore[arg-type]  # a Choice
            recover=recover,
            trials=trials,
            progress=show,
        )
    if as_json:
        click.echo(console.to_json(rows.table(found)))
        return
    title = f"{candidate_path} against {reference_path} on {found.images} images of {data_set.name}"
    console.table(title, ("network", "top-1", "noise of the logits"), rows.summary_rows(found))
    title = "the least exact layers, each alone on the reference's tensors"
    console.table(title, rows.COLUMNS, rows.suspect_rows(found.suspects[:WORST]), optional=rows.OPTIONAL)
    for line in rows.lines(found):
        click.echo(visible(line))
