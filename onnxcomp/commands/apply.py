"""``onnxcomp apply``: rewrite a network into its compression form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxcomp.commands import dry, options
from onnxcomp.completion import values
from onnxcomp.visible import visible

if TYPE_CHECKING:
    from onnxcomp.model import Model
    from onnxcomp.pipeline import Step


@click.command("apply")
@click.argument("operands", nargs=-1, metavar="[PASSES] MODEL", shell_complete=values.passes_or_file)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Compression form to write.")
@click.option(
    "--deployable",
    type=click.Path(path_type=Path),
    help="Write what `onnxcomp finalize --target` makes of it, too or alone: post-training quantisation in"
    " one command.",
)
@options.data(required=False)
@options.target_of_widths
@options.recipe
@options.settings
@options.teacher
@options.calibration_images
@options.calibration_cache
@options.preprocess
@options.threads
@dry.option
@options.as_json
def command(
    operands: tuple[str, ...],
    output: Path | None,
    deployable: Path | None,
    data: str | None,
    target: str | None,
    recipe_file: Path | None,
    settings: tuple[str, ...],
    teachers: tuple[Path, ...],
    calibration_images: int,
    calibration_cache: Path | None,
    preprocess: str | None,
    threads: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Apply PASSES (such as prune,qat,distill) to MODEL.

    The result is plain ONNX with masks, Q/DQ nodes, the teacher and the losses inside; `onnxcomp
    train` trains it. qat needs --data for its scales, and prune for the criteria taylor, obd and obs.

    \b
    Example:
      onnxcomp apply prune,qat,distill m.onnx -o c.onnx --data cifar10 --set prune.sparsity=0.9
      onnxcomp apply distill small.onnx -o c.onnx --teacher large.onnx
      onnxcomp apply qat m.onnx --deployable d.onnx --data cifar10 --target xavier
    """
    from onnxcomp import model as models
    from onnxcomp import pipeline, runtime, sources
    from onnxcomp import recipe as recipes
    from onnxcomp.commands.finalize import Finalizing
    from onnxcomp.data import open_data
    from onnxcomp.deploy.targets import get_target
    from onnxcomp.outlook import Outlook
    from onnxcomp.report import console
    from onnxcomp.sources import Sources

    text, path = options.passes_and_model(operands, recipe_file)
    recipe = options.read_recipe(text, recipe_file, settings, teachers)
    chosen = None if target is None else get_target(target)
    if output is None and deployable is None:
        raise click.UsageError("Missing option '-o' / '--output' or '--deployable'.")
    read = (path, data, recipe_file, *options.teachers_of(recipe))
    if output is not None:
        options.check_output(output, *read)
    finish = None
    if deployable is not None:
        if chosen is None:
            raise click.UsageError("--deployable needs --target.")
        if output is not None and output.resolve() == deployable.resolve():
            raise click.UsageError("-o and --deployable name the same file.")
        options.check_output(deployable, *read)
        finish = Finalizing(deployable, chosen, keep=path)
    cache = options.calibration_folder(calibration_cache)
    with console.working(f"reading {path}"):
        model = models.load(path)
        options.set_preprocessing(model, preprocess)
        data_set = None if data is None else open_data(data)
    if data_set is not None:
        options.fit_to_data(model, data_set, path)
    steps: list[Step] = []
    with console.bars("applying") as show:
        asked = Sources()
        if data_set is not None:
            threads = threads or runtime.default_threads()
            asked = sources.from_data(
                model,
                data_set,
                images=min(calibration_images, dry.REHEARSAL_IMAGES) if dry_run else calibration_images,
                threads=threads,
                show=show,
                cache=None if dry_run else cache,
                warn=options.warn,
            )
        result = pipeline.apply(
            model,
            recipe,
            calibration=asked.calibration,
            grams=asked.grams,
            gradients=asked.gradients,
            alignment=1 if chosen is None else chosen.alignment,
            placement="tensorrt" if chosen is None else chosen.placement,
            report=steps.append,
            rehearse=dry_run,
        )
    if dry_run:
        outlook = dry.applied(steps, None if data is None else calibration_images)
        outlook += Outlook((), () if output is None else (output,))
        dry.tell(outlook if finish is None else outlook + finish.outlook(result), as_json=as_json)
        return
    if output is not None:
        with console.working(f"writing {output}"):
            models.save(result, output)
    with console.working("finalizing"):
        written = None if finish is None else finish(result)
    if as_json:
        click.echo(
            console.to_json({**_summary(result, steps, output), "deployable": written and written.table()})
        )
        return
    for step in steps:
        click.echo(f"{step.name} ({step.seconds:.1f} s)")
        for note in step.change.notes:
            click.echo(f"  {visible(note)}")
    if output is not None:
        click.echo(f"wrote {output} ({recipes.parse(result.recipe)})")
    if written:
        written.show(path)


def _summary(result: Model, steps: list[Step], output: Path | None) -> dict[str, object]:
    return {
        "output": output and str(output),
        "recipe": result.recipe,
        "losses": result.losses,
        "steps": [
            {"pass": s.name, "seconds": round(s.seconds, 3), "notes": list(s.change.notes)} for s in steps
        ],
    }
