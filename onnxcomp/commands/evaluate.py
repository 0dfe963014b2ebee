"""``onnxcomp evaluate``: a network's accuracy, size and latency."""

from __future__ import annotations

from pathlib import Path

import click

from onnxcomp.commands import options
from onnxcomp.providers import Provider


@click.command("evaluate")
@click.argument("path", metavar="MODEL", type=click.Path(path_type=Path))
@options.data(required=True)
@options.limit
@options.batch_size
@options.preprocess
@options.threads
@options.provider
@click.option(
    "--latency-runs",
    type=click.IntRange(min=0),
    help="Timed runs at batch 1; default: at least 100 and 2 seconds; 0 for none.",
)
@options.as_json
def command(
    path: Path,
    data: str,
    limit: int | None,
    batch_size: int,
    preprocess: str | None,
    threads: int | None,
    provider: Provider,
    latency_runs: int | None,
    as_json: bool,
) -> None:
    """Measure MODEL on the test images of --data.

    Prints top-1 and top-5 accuracy, the size of the file as it is and deflated, parameters and those
    that are not zero, and the median and 99th percentile of the latency of one image on this machine.

    \b
    Example:
      onnxcomp evaluate d.onnx --data cifar10 --threads 2
      onnxcomp evaluate d.onnx --data cifar10 --provider cuda
    """
    from onnxcomp import model as models
    from onnxcomp import runtime
    from onnxcomp.data import open_data
    from onnxcomp.parity.sample import limited
    from onnxcomp.report import console
    from onnxcomp.report.evaluation import evaluate, evaluation_rows

    with console.working(f"reading {path}"):
        model = models.load(path)
        options.set_preprocessing(model, preprocess)
        data_set = open_data(data)
    options.fit_to_data(model, data_set, path)
    images = limited(data_set.test, limit)
    with console.progress("evaluating", len(images)) as advance:
        found = evaluate(
            path,
            model,
            images,
            threads=threads or runtime.default_threads(),
            batch_size=batch_size,
            latency_runs=latency_runs,
            provider=provider,
            progress=advance,
        )
    if as_json:
        click.echo(console.to_json(found))
    else:
        console.table(f"{path} on {data_set.name}", ("measure", "value"), evaluation_rows(found))
