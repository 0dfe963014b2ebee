"""``onnxcomp apply``: rewrite a network into its compression form."""

from __future__ import annotations

import json
from pathlib import Path

import click

from onnxcomp import files, pipeline, sources
from onnxcomp import model as models
from onnxcomp import recipe as recipes
from onnxcomp.commands import options
from onnxcomp.deploy.targets import get_target
from onnxcomp.pipeline import Step
from onnxcomp.sources import Sources


@click.command("apply")
@click.argument("operands", nargs=-1, metavar="[PASSES] MODEL")
@options.output
@options.data(required=False)
@options.target_of_widths
@options.recipe
@options.settings
@options.calibration_images
@options.calibration_cache
@options.preprocess
@options.threads
@options.as_json
def command(
    operands: tuple[str, ...],
    output: Path,
    data: str | None,
    target: str | None,
    recipe_file: Path | None,
    settings: tuple[str, ...],
    calibration_images: int,
    calibration_cache: Path | None,
    preprocess: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Apply PASSES (such as prune,qat,distill) to MODEL.

    The result is plain ONNX with masks, Q/DQ nodes, the teacher and the losses inside; `onnxcomp
    train` trains it. qat needs --data for its scales, and prune for the criteria taylor, obd and obs.

    \b
    Example:
      onnxcomp apply prune,qat,distill m.onnx -o c.onnx --data cifar10 --set prune.sparsity=0.9
    """
    from onnxcomp import runtime
    from onnxcomp.data import open_data
    from onnxcomp.report import console

    text, path = options.passes_and_model(operands, recipe_file)
    recipe = options.read_recipe(text, recipe_file, settings)
    chosen = None if target is None else get_target(target)
    files.check_writable(output, keep=path)
    cache = options.calibration_folder(calibration_cache)
    model = models.load(path)
    options.set_preprocessing(model, preprocess)
    data_set = None if data is None else open_data(data)
    if data_set is not None:
        options.fit_to_data(model, data_set, path)
    steps: list[Step] = []
    with console.bars() as show:
        asked = Sources()
        if data_set is not None:
            threads = threads or runtime.default_threads()
            asked = sources.from_data(
                model,
                data_set,
                images=calibration_images,
                threads=threads,
                show=show,
                cache=cache,
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
        )
    models.save(result, output)
    if as_json:
        click.echo(json.dumps(_summary(result, steps, output)))
        return
    for step in steps:
        click.echo(f"{step.name} ({step.seconds:.1f} s)")
        for note in step.change.notes:
            click.echo(f"  {note}")
    click.echo(f"wrote {output} ({recipes.parse(result.recipe)})")


def _summary(result: models.Model, steps: list[Step], output: Path) -> dict[str, object]:
    return {
        "output": str(output),
        "recipe": result.recipe,
        "losses": result.losses,
        "steps": [
            {"pass": s.name, "seconds": round(s.seconds, 3), "notes": list(s.change.notes)} for s in steps
        ],
    }
