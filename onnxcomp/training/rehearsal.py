"""What a training would do, and how long a step takes here: nothing is written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from onnxcomp.data import DataSet
from onnxcomp.errors import OnnxcompError
from onnxcomp.outlook import Outlook
from onnxcomp.training import engine, lock, phases
from onnxcomp.training.plan import Plan
from onnxcomp.training.progress import Progress, Silent
from onnxcomp.training.ranks import Ranks
from onnxcomp.training.run_dir import RunDir
from onnxcomp.training.setup import trainee_of
from onnxcomp.training.trainer import Trainer

TIMED_STEPS = 2  # after one that is not counted: buffers are made in it


def rehearse(
    plan: Plan,
    data: DataSet,
    run_dir: Path,
    ranks: Ranks,
    *,
    resume: bool = False,
    note: Callable[[str], None] = lambda line: None,
    progress: Progress | None = None,
) -> Outlook:
    """Check what :func:`onnxcomp.training.loop.train` checks, take a few steps in memory, and tell.

    Args:
        run_dir: that the run would work in; only read.
        note: told in a line of each checkpoint that is damaged.
        progress: shows what takes long.

    Raises:
        OnnxcompError: as ``train``.
    """
    config, steps = plan.course.config, plan.course.steps
    kept = check_run_dir(plan, run_dir, resume=resume, note=note)
    if kept >= steps:
        return Outlook((f"the run in {run_dir} is finished: its result would be written",))
    progress = progress or Silent()
    with progress.counting("images read", len(data.train) + len(data.test)) as advance:
        for images in (data.train, data.test):
            images.check(plan.model.image_shape[1:], advance)
    with progress.working("trying a few steps"):
        seconds = _seconds(plan, ranks)
    left = steps - kept
    minutes = left * seconds / 60
    lines = [
        f"would train on the {len(data.train):,} training images of {data.name}",
        *(f"  {line}" for line in plan.lines()),
        f"  {_start(run_dir, kept, steps)}",
        f"  a step took {seconds:.2f} s here, so {left:,} take about"
        f" {f'{minutes:.0f} min' if minutes >= 2 else f'{60 * minutes:.0f} s'}, without the measurements"
        " (estimate; later phases of a recipe may differ)",
        f"  metrics and checkpoints: {run_dir}",
    ]
    if config.tensorboard:
        lines.append("  and TensorBoard's event files there")
    return Outlook(tuple(lines))


def check_run_dir(
    plan: Plan, run_dir: Path, *, resume: bool, note: Callable[[str], None] = lambda line: None
) -> int:
    """The step that a run in ``run_dir`` would continue from.

    Raises:
        TrainingError: the folder does not fit, cannot be written, or another process works in it.
        CheckpointError: what is to be resumed is another run.
    """
    run = RunDir(run_dir, resume=resume, keep=plan.course.config.keep)
    lock.check(run_dir)
    check_folder(run_dir)
    saved = run.saved(plan.identity, note)
    return 0 if saved is None else saved.step


def check_folder(path: Path) -> None:
    """Refuse a folder that is not there and cannot be made, or cannot be written.

    Raises:
        OnnxcompError: so it is.
    """
    place = next(one for one in (path, *path.absolute().parents) if one.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        what = "cannot be written" if place == path else f"cannot be created in {place}"
        raise OnnxcompError(what, where=str(path), fix="choose another folder")


def _start(run_dir: Path, kept: int, steps: int) -> str:
    return f"continues in {run_dir} after step {kept:,} of {steps:,}" if kept else "starts at its beginning"


def _seconds(plan: Plan, ranks: Ranks) -> float:
    """Of one step, on the run's first images."""
    config, steps = plan.course.config, plan.course.steps
    trainee = trainee_of(plan.model, config)
    trainer = Trainer(phases.build(trainee, config, steps, 0, engine.build), trainee, config, steps, ranks)
    count = min(TIMED_STEPS + 1, steps)
    first = ranks.rank * config.accumulate
    images = plan.batches.iterate(0, count, range(first, first + config.accumulate), config.workers)
    taken = []
    for step in range(count):
        start = time.perf_counter()
        trainer.step(step, islice(images, config.accumulate))
        taken.append(time.perf_counter() - start)
    return min(taken[1:] or taken)
