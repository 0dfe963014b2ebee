"""``--dry-run``: the option, and how what it found is printed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from onnxcomp.compress import Job
    from onnxcomp.model import Model
    from onnxcomp.outlook import Outlook
    from onnxcomp.pipeline import Step
    from onnxcomp.recipe import Recipe

REHEARSAL_IMAGES = 8
"""Training images that passes look at in a dry run: enough to meet what is wrong with them."""

option = click.option(
    "--dry-run",
    is_flag=True,
    help="Check all that the command checks and say what it would do; write nothing.",
)


def tell(outlook: Outlook, *, as_json: bool) -> None:
    """Print it."""
    from onnxcomp.report.console import to_json

    if as_json:
        click.echo(to_json({"dry_run": True, "lines": outlook.lines, "writes": [*map(str, outlook.writes)]}))
        return
    for line in outlook.all_lines():
        click.echo(line)


def compressed(job: Job, model: Model, recipe: Recipe, *, baseline: bool) -> Outlook:
    """What ``compress`` would do.

    Raises:
        OnnxcompError: as ``compress``.
    """
    from onnxcomp import compress
    from onnxcomp.deploy.finalize import finalize_report
    from onnxcomp.outlook import Outlook
    from onnxcomp.training import lock
    from onnxcomp.training.plan import Plan
    from onnxcomp.training.ranks import Alone
    from onnxcomp.training.rehearsal import check_folder, rehearse

    dense = job.checked(model, recipe, baseline=baseline)
    check_folder(job.run_dir)
    lock.check(job.run_dir)
    if job.resume and (job.run_dir / compress.COMPRESSED).exists():
        outlook = Outlook((f"would take {job.run_dir / compress.COMPRESSED} as it is",))
        network = job.found(dense, recipe)
    else:
        steps: list[Step] = []
        images = min(job.calibration_images, REHEARSAL_IMAGES)
        looking = replace(job, calibration_images=images, calibration_cache=None)
        network = looking.apply(dense, recipe, rehearse=True, report=steps.append)
        outlook = applied(steps, job.calibration_images)
    if baseline:
        outlook += Outlook(("would train the dense network for the same budget",))
    folder = job.run_dir / compress.TRAINING
    alone, resume = Alone(), job.resume and folder.exists()
    plan = Plan.of(network, job.data, job.config, alone)
    outlook += rehearse(plan, job.data, folder, alone, resume=resume, progress=job.progress)
    finalize_report(network, job.target)  # refuses what would fail only after the training
    measured = f"would finalize for {job.target.name}, and measure it beside the dense network"
    return outlook + Outlook(
        (measured,), tuple(job.run_dir / name for name in compress.files_of(baseline=baseline))
    )


def applied(steps: Iterable[Step], images: int | None) -> Outlook:
    """What passes would do.

    Args:
        images: that they would look at, None without data.
    """
    from onnxcomp.outlook import Outlook

    lines = []
    for step in steps:
        lines.append(f"would apply {step.name}")
        lines += [f"  {note}" for note in step.change.notes]
    if images is not None:
        lines.append(
            f"(looked at {min(images, REHEARSAL_IMAGES)} images; the command itself looks at up to {images},"
            " and scores, scales and rounding will differ)"
        )
    return Outlook(tuple(lines))
