"""``onnxcomp validate``: does a network still answer as another one did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxcomp.commands import options

if TYPE_CHECKING:
    from onnxcomp.parity.comparator import Tolerance

ERROR_STATS = ("elemwise", "max", "mean", "median")


@click.command("validate")
@click.argument("reference_path", metavar="REF", type=click.Path(path_type=Path))
@click.argument("candidate_path", metavar="CAND", type=click.Path(path_type=Path))
@options.data(required=True)
@click.option(
    "--max-drop",
    type=float,
    default=0.5,
    show_default=True,
    help="Points of top-1 that CAND may lose.",
)
@click.option("--atol", type=click.FloatRange(min=0), help="Absolute tolerance of the logits.")
@click.option("--rtol", type=click.FloatRange(min=0), help="Tolerance as a share of REF's logits.")
@click.option(
    "--check-error-stat",
    type=click.Choice(ERROR_STATS),
    help="Which errors must be within --atol or --rtol; default: elemwise.",
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 100),
    help="Least share of images with the same top-1 class, in percent.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Images on which logits are compared.",
)
@options.limit
@options.batch_size
@options.preprocess
@options.threads
@options.as_json
@click.pass_context
def command(
    context: click.Context,
    reference_path: Path,
    candidate_path: Path,
    data: str,
    max_drop: float,
    atol: float | None,
    rtol: float | None,
    check_error_stat: str | None,
    min_agreement: float | None,
    samples: int,
    limit: int | None,
    batch_size: int,
    preprocess: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Check that CAND still answers as REF does, on the test images of --data.

    Accuracy is measured on all of them, logits are compared on some with Polygraphy. Exits with 1 where
    a check does not hold, with one line on stderr for each.

    \b
    Example:
      onnxcomp validate m.onnx d.onnx --data cifar10 --max-drop 0.5
    """
    from onnxcomp import model as models
    from onnxcomp import runtime
    from onnxcomp.data import open_data
    from onnxcomp.parity.compare import check_interfaces
    from onnxcomp.parity.sample import limited
    from onnxcomp.parity.validation import Limits, validate, validation_rows
    from onnxcomp.report import console

    limits = Limits(max_drop, min_agreement, _tolerance(atol, rtol, check_error_stat))
    reference, candidate = models.load(reference_path), models.load(candidate_path)
    check_interfaces(reference, candidate)
    data_set = open_data(data)
    for model, other in ((reference, candidate), (candidate, reference)):
        options.set_preprocessing(model, preprocess)
        # A file that does not say takes what the other one takes, rather than what the data suggest.
        model.preprocessing = model.preprocessing or other.preprocessing
    options.fit_to_data(reference, data_set, reference_path)
    options.fit_to_data(candidate, data_set, candidate_path)
    images = limited(data_set.test, limit)
    with console.progress("validating", 2 * len(images)) as advance:
        found = validate(
            reference,
            candidate,
            images,
            limits,
            threads=threads or runtime.default_threads(),
            samples=samples,
            batch_size=batch_size,
            progress=advance,
        )
    if as_json:
        click.echo(console.to_json(found))
    else:
        title = f"{candidate_path} against {reference_path} on {data_set.name}"
        console.table(title, ("measure", "value"), validation_rows(found))
        click.echo("passed" if found.passed else "failed")
    for line in found.failures:
        click.echo(f"FAILED: {line}", err=True)
    if not found.passed:
        context.exit(1)


def _tolerance(atol: float | None, rtol: float | None, error_stat: str | None) -> Tolerance | None:
    from onnxcomp.parity.comparator import Tolerance

    if atol is None and rtol is None:
        if error_stat is not None:
            raise click.UsageError("--check-error-stat needs --atol or --rtol")
        return None
    return Tolerance(atol or 0.0, rtol or 0.0, error_stat or "elemwise")  # type: ignore[arg-type]  # a Choice
