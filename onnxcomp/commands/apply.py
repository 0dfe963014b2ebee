"""``onnxcomp apply``: rewrite a network into its compression form."""

from __future__ import annotations

import json
from pathlib import Path

import click

from onnxcomp import files, pipeline
from onnxcomp import model as models
from onnxcomp import recipe as recipes
from onnxcomp.commands import options
from onnxcomp.pipeline import Step


@click.command("apply")
@click.argument("operands", nargs=-1, metavar="[PASSES] MODEL")
@options.output
@options.data(required=False)
@options.recipe
@options.settings
@options.calibration_images
@options.preprocess
@options.threads
@options.as_json
def command(
    operands: tuple[str, ...],
    output: Path,
    data: str | None,
    recipe_file: Path | None,
    settings: tuple[str, ...],
    calibration_images: int,
    preprocess: str | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Apply PASSES (such as prune,qat,distill) to MODEL.

    The result is plain ONNX with masks, Q/DQ nodes, the teacher and the losses inside; `onnxcomp
    train` trains it. qat needs --data to calibrate its scales.

    \b
    Example:
      onnxcomp apply prune,qat,distill m.onnx -o c.onnx --data cifar10 --set prune.sparsity=0.9
    """
    text, path = options.passes_and_model(operands, recipe_file)
    recipe = options.read_recipe(text, recipe_file, settings)
    files.check_writable(output, keep=path)
    model = models.load(path)
    options.set_preprocessing(model, preprocess)
    steps: list[Step] = []
    calibration = None
    if data is not None:
        calibration = options.open_calibration(model, path, data, calibration_images, threads)
    result = pipeline.apply(model, recipe, calibration=calibration, report=steps.append)
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
