"""``onnxcomp demo``: everything once, on an embedded data set."""

from __future__ import annotations

from pathlib import Path

import click

from onnxcomp.commands import options


@click.command("demo")
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    default=Path("runs/demo"),
    show_default=True,
    help="Folder for the networks; new or empty without --resume.",
)
@options.resume
@options.threads
@options.as_json
def command(run_dir: Path, resume: bool, threads: int | None, as_json: bool) -> None:
    """Train a small DenseNet on scikit-learn's digits, prune, quantise and distill it.

    Nothing is downloaded; it takes minutes on two cores and ends with a table.

    \b
    Example:
      onnxcomp demo
    """
    from onnxcomp import compress, runtime
    from onnxcomp.demo import demo
    from onnxcomp.provenance import Origin
    from onnxcomp.report import console
    from onnxcomp.training.progress import ConsoleProgress

    with (
        options.resumable(resume=resume),
        ConsoleProgress(console.console(stderr=True)) as progress,
    ):
        rows = demo(
            run_dir,
            threads=threads or runtime.default_threads(),
            progress=progress,
            resume=resume,
            origin=Origin.of(options.command_words()),
        )
    if as_json:
        click.echo(console.to_json(rows))
    else:
        console.table(
            "digits, densenet-bc-40-12",
            compress.COLUMNS,
            compress.table_rows(rows),
            optional=compress.OPTIONAL_COLUMNS,
        )
        console.console().print(f"the networks are in {run_dir}", markup=False, soft_wrap=True)
