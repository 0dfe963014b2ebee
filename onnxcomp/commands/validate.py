"""``onnxcomp validate``: does a network still answer as another one did."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxcomp.commands import devices, limits, options, pairs
from onnxcomp.commands.sections import SectionCommand, option
from onnxcomp.providers import Provider
from onnxcomp.visible import visible

if TYPE_CHECKING:
    from onnxcomp.deploy.engines.build import Request
    from onnxcomp.deploy.engines.parity import DeviceParity
    from onnxcomp.parity.limits import Limits
    from onnxcomp.parity.validation import Validation

FILES = "Files of Polygraphy and CI"
PATH = click.Path(path_type=Path)
WORST = 10


@click.command("validate", cls=SectionCommand)
@click.argument("reference_path", metavar="REF", type=PATH)
@click.argument("candidate_path", metavar="CAND", type=PATH)
@options.data(required=True)
@limits.options
@click.option("--layers", is_flag=True, help="Compare inner tensors of the same name too.")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=200,
    show_default=True,
    help="Images on which logits and inner tensors are compared.",
)
@option(
    FILES, "--load-inputs", metavar="FILE.json", type=PATH, help="Compare on inputs that Polygraphy saved."
)
@option(
    FILES, "--load-outputs", metavar="FILE.json", type=PATH, help="Hold its run results against REF's too."
)
@option(FILES, "--save-inputs", metavar="FILE.json", type=PATH, help="For polygraphy run --load-inputs.")
@option(FILES, "--save-outputs", metavar="FILE.json", type=PATH, help="For polygraphy run --load-outputs.")
@option(FILES, "--junit", metavar="FILE.xml", type=PATH, help="Write each check there, for a CI server.")
@options.limit
@options.batch_size
@options.preprocess
@options.threads
@options.provider
@devices.host
@devices.trtexec
@click.option("--target", metavar="NAME", help="That CAND was finalized for; with --host or --trtexec.")
@click.option(
    "--device-batch",
    type=click.IntRange(min=1),
    default=50,
    show_default=True,
    help="Images at once in the engine on the device.",
)
@options.as_json
@click.pass_context
def command(
    context: click.Context,
    /,
    reference_path: Path,
    candidate_path: Path,
    data: str,
    limits_path: Path | None,
    layers: bool,
    samples: int,
    load_inputs: Path | None,
    load_outputs: Path | None,
    save_inputs: Path | None,
    save_outputs: Path | None,
    junit: Path | None,
    limit: int | None,
    batch_size: int,
    preprocess: str | None,
    threads: int | None,
    provider: Provider,
    host: str | None,
    trtexec: str | None,
    target: str | None,
    device_batch: int,
    as_json: bool,
    **asked: Any,
) -> None:
    """Check that CAND still answers as REF does, on the test images of --data.

    Accuracy is measured on all of them, logits are compared on some with Polygraphy. Exits with 1 where
    a check does not hold, with one line on stderr for each. With --host (or --trtexec) an engine of CAND is
    built there too, and its answers to --samples images are held against ONNX Runtime's here.

    \b
    Example:
      onnxcomp validate m.onnx d.onnx --data cifar10 --max-drop 0.5 --junit parity.xml
      onnxcomp validate m.onnx d.onnx --data cifar10 --layers
      onnxcomp validate m.onnx d.onnx --data cifar10 --target xavier --host user@jetson
    """
    from onnxcomp import files, runtime
    from onnxcomp.parity import polygraphy_files
    from onnxcomp.parity.sample import limited
    from onnxcomp.parity.validation import Pair, sample_batches, validate
    from onnxcomp.report import console

    started = time.monotonic()
    held = limits.read(limits_path, asked)
    if (host is not None or trtexec is not None) != (target is not None):
        raise click.UsageError("--target and --host (or --trtexec) go together")
    for path in (save_inputs, save_outputs, junit):
        if path is not None:
            files.check_writable(path)
    reference, candidate, data_set = pairs.load(reference_path, candidate_path, data, preprocess)
    engine = None
    if target is not None:
        engine = _engine(context, candidate_path, candidate.batch or device_batch, target, host, trtexec)
    images = limited(data_set.test, limit)
    threads = threads or runtime.default_threads()
    batch = reference.batch or candidate.batch
    if load_inputs is None:
        batches = sample_batches(reference, images, samples, batch)
    else:
        batches = polygraphy_files.load_inputs(load_inputs, reference if reference.batch else candidate)
    count = sum(len(part) for part in batches)
    runs = [] if load_outputs is None else polygraphy_files.load_outputs(load_outputs, reference, count)
    pair = Pair(reference, candidate, batches, threads, provider)
    found = validate(
        pair, images, held, layers=layers, runs=runs, batch_size=batch_size, progress=console.progress
    )
    checks, notes, parity = list(found.checks), list(found.notes), None
    if engine is not None:
        from onnxcomp.deploy.engines.parity import compare

        with devices.following(verbose=False) as on_line:
            parity = compare(
                engine(on_line),
                candidate,
                images,
                samples=samples,
                threads=threads,
                confidence=held.confidence,
            )
        more, lines = parity.checks(held)
        checks, notes = [*checks, *more], [*notes, *lines]
    failures = [check.failure for check in checks if check.failure]
    if save_inputs is not None:
        polygraphy_files.save_inputs(save_inputs, batches, candidate.image.name)
    if save_outputs is not None:
        polygraphy_files.save_outputs(save_outputs, found.verdict, candidate.logits.name)
    if junit is not None:
        from onnxcomp.parity.junit import write_junit

        suite = f"{candidate_path.name} against {reference_path.name}"
        write_junit(junit, checks, suite=suite, seconds=time.monotonic() - started)
    if as_json:
        click.echo(console.to_json(_table(found, checks, notes, parity)))
    else:
        _show(found, f"{candidate_path} against {reference_path} on {data_set.name}", parity, held)
        click.echo("failed" if failures else "passed")
    for line in notes:
        click.echo(f"note: {visible(line)}", err=True)
    for line in failures:
        click.echo(f"FAILED: {visible(line)}", err=True)
    if failures:
        context.exit(1)


def _table(
    found: Validation, checks: list[Any], notes: list[str], parity: DeviceParity | None
) -> dict[str, Any]:
    failures = [check.failure for check in checks if check.failure]
    table = {
        "reference": found.reference,
        "candidate": found.candidate,
        "drop": found.drop,
        "comparison": found.comparison,
        "runs": found.runs,
        "layers": found.layers,
        "checks": checks,
        "notes": notes,
        "failures": failures,
        "passed": not failures,
    }
    return table if parity is None else {**table, "device": parity}


def _show(found: Validation, title: str, parity: DeviceParity | None, held: Limits) -> None:
    from onnxcomp.parity.rows import LAYER_COLUMNS, comparison_rows, layer_lines, layer_rows, validation_rows
    from onnxcomp.report import console

    console.table(title, ("measure", "value"), validation_rows(found))
    for name, comparison in found.runs.items():
        console.table(f"{name}, as Polygraphy ran it", ("measure", "value"), comparison_rows(comparison))
    if found.layers is not None:
        title = f"the {min(WORST, len(found.layers.errors))} steepest falls of SQNR, in order"
        optional = ("largest value", "max difference", "op", "cosine")
        console.table(title, LAYER_COLUMNS, layer_rows(found.layers, WORST), optional=optional)
        for line in layer_lines(found.layers, held.layers):
            click.echo(visible(line))
    if parity:
        console.table(f"{parity.gpu}, TensorRT {parity.tensorrt}", ("measure", "value"), parity.rows())


def _engine(
    context: click.Context, path: Path, batch: int, name: str, host: str | None, trtexec: str | None
) -> Callable[[Callable[[str], None]], Request]:
    """What builds an engine of the candidate and hands the lines of the log on; all is checked before.

    Args:
        context: at its end the connection is closed.
        name: of the target.
    """
    from onnxcomp.deploy.engines import fit
    from onnxcomp.deploy.engines.build import Request
    from onnxcomp.deploy.engines.source import read
    from onnxcomp.deploy.engines.wish import Wish

    target = fit.tensorrt_target(name)
    source = read(path, dla=target.dla)
    fit.check_file(path, target)
    tensorrt = context.with_resource(devices.tensorrt(host, trtexec))
    fit.check_version(tensorrt, target)
    wish = Wish(batch=batch, sparse=target.two_four is not None, dla_core=0 if target.dla else None)
    return partial(Request, source, name, wish, tensorrt, options.warn)
