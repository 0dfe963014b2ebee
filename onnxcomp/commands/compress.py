"""``onnxcomp compress``: apply, train, finalize and evaluate in one run directory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from onnxcomp.commands import dry, options, training
from onnxcomp.commands.sections import SectionCommand
from onnxcomp.completion import values


@click.command("compress", cls=SectionCommand)
@click.argument("operands", nargs=-1, metavar="[PASSES] MODEL", shell_complete=values.passes_or_file)
@options.data(required=True)
@options.target
@click.option(
    "--run-dir", required=True, type=click.Path(path_type=Path), help="Folder for every file of the run."
)
@options.resume
@options.recipe
@options.settings
@options.teacher
@click.option("--baseline", is_flag=True, help="Train the dense network for the same budget too.")
@options.calibration_images
@options.calibration_cache
@options.preprocess
@options.threads
@training.options
@dry.option
@options.as_json
def command(
    operands: tuple[str, ...],
    data: str,
    target: str,
    run_dir: Path,
    resume: bool,
    recipe_file: Path | None,
    settings: tuple[str, ...],
    teachers: tuple[Path, ...],
    baseline: bool,
    calibration_images: int,
    calibration_cache: Path | None,
    preprocess: str | None,
    dry_run: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Apply PASSES to MODEL, train it, finalize it for TARGET and measure it beside the dense one.

    The run directory holds dense.onnx, compressed.onnx, trained.onnx, deployable.onnx, recipe.yaml,
    the metrics and checkpoints of the training, results.json and run.json, which says what it was made of.

    \b
    Example:
      onnxcomp compress prune,qat,distill m.onnx --data cifar10 --target xavier --epochs 2 --run-dir runs/a
    """
    from onnxcomp import compress
    from onnxcomp import model as models
    from onnxcomp.data import open_data
    from onnxcomp.deploy.targets import get_target
    from onnxcomp.provenance import Origin
    from onnxcomp.report import console
    from onnxcomp.training.progress import ConsoleProgress

    text, path = options.passes_and_model(operands, recipe_file)
    recipe = options.read_recipe(text, recipe_file, settings, teachers)
    chosen = get_target(target)
    config = training.config(**given)
    origin = Origin.of(options.command_words(), path, *options.teachers_of(recipe))
    cache = options.calibration_folder(calibration_cache)
    with options.resumable(resume=resume):
        with console.working(f"reading {path}"):
            model = models.load(path)
            options.set_preprocessing(model, preprocess)
            data_set = open_data(data)
        options.fit_to_data(model, data_set, path)
        with ConsoleProgress(console.console(stderr=True)) as progress, options.about(path) as shown:
            job = compress.Job(
                data_set,
                config,
                chosen,
                run_dir,
                progress,
                resume,
                calibration_images=calibration_images,
                calibration_cache=cache,
                warn=options.warn,
                bars=partial(console.bars, "applying"),
                origin=origin,
            )
            if dry_run:
                dry.tell(dry.compressed(job, shown(model), recipe, baseline=baseline), as_json=as_json)
                return
            rows = job.compress(shown(model), recipe, baseline=baseline)
    if as_json:
        click.echo(console.to_json(rows))
    else:
        console.table(
            f"{recipe} on {data_set.name}",
            compress.COLUMNS,
            compress.table_rows(rows),
            optional=compress.OPTIONAL_COLUMNS,
        )
        console.console().print(f"wrote {run_dir}", markup=False, soft_wrap=True)
