"""Train a network: one loop, readable from top to bottom."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

from onnxcomp.data import DataSet
from onnxcomp.errors import TrainingError
from onnxcomp.interrupts import Interrupted, Signals
from onnxcomp.model import Model
from onnxcomp.training import engine
from onnxcomp.training.checkpoint import Checkpoint
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.course import Course
from onnxcomp.training.evaluation import Evaluate, on_test_images
from onnxcomp.training.identity import Identity, describe, fingerprint
from onnxcomp.training.progress import Progress, Silent
from onnxcomp.training.ranks import Alone, Ranks
from onnxcomp.training.run_dir import NoRunDir, RunDir
from onnxcomp.training.setup import begin_from, prepared, trainee_of, training_batches
from onnxcomp.training.trainer import DivergedError, Trainer, result_of, write
from onnxcomp.training.window import Window


def train(
    model: Model,
    data: DataSet,
    config: TrainConfig,
    run_dir: Path,
    *,
    resume: bool = False,
    progress: Progress | None = None,
    evaluate: Evaluate | None = None,
    build: Callable[..., engine.Engine] = engine.build,
    ranks: Ranks | None = None,
    weights_from: Path | None = None,
) -> Model:
    """Train ``model`` on the training images of ``data``; the argument itself is left as it is.

    A run that was killed at any moment and is resumed ends with the same weights, bit for bit, as
    one that was not (with the same number of threads and ranks). Ctrl-C and SIGTERM are obeyed after
    the current step.

    Args:
        model: compression form, or inference form, which is trained on the labels alone.
        run_dir: receives config, metrics and checkpoints; new or empty unless ``resume``.
        resume: continue the run in ``run_dir``; one that is finished gives its result at once.
        evaluate: test accuracy of a network in percent; by default on the test images of ``data``.
        build: makes the engine.
        ranks: the processes that train together; each is given the same arguments.
        weights_from: folder of another run, with whose newest good checkpoint's weights this one begins.

    Returns:
        A network of the same form with the trained values: with averaged weights, those.

    Raises:
        TrainingError: the network cannot be trained, ``run_dir`` does not fit or is in use, the disk
            is full, or the loss or a gradient is no longer a number (the last checkpoint stays).
        CheckpointError: what is to be resumed is of another model, data or settings, or no checkpoint
            of it is good.
        DataError: the classes of ``data`` are not the network's, or one of its images is broken.
        Interrupted: a signal came; a checkpoint was written.
    """
    ranks = ranks or Alone()
    progress = progress if progress and ranks.rank == 0 else Silent()
    run = (
        RunDir(run_dir, resume=resume, keep=config.keep, tensorboard=config.tensorboard)
        if ranks.rank == 0
        else NoRunDir(run_dir)
    )
    model = prepared(model, data)
    if weights_from is not None and ranks.rank == 0:
        begin_from(model, weights_from, progress.note)
    batches = training_batches(model, data, config, ranks.size)
    course = Course(config, batches.steps_per_epoch)
    identity = Identity(
        fingerprint(model), {**config.settings(), "data": describe(data), "ranks": ranks.size}
    )
    trainee = trainee_of(model, config)
    evaluate = evaluate or on_test_images(data, config.threads, ranks)

    def measure(done: int) -> None:
        accuracy, epoch = evaluate(model), course.epoch(done)
        run.log({"event": "epoch", "step": done, "epoch": epoch, "test_accuracy": accuracy})
        progress.note(f"epoch {epoch:g}: test accuracy {accuracy:.2f} %")

    with Signals(wait=ranks.size > 1) as signals, run, _explained(run, course):
        with signals.at_once():
            saved = run.saved(identity, progress.note)
            if resume and saved is None:
                progress.note(f"{run_dir}: nothing to resume, the run starts from its beginning")
            start = ranks.share(run.kept)
            unmeasured = ranks.share(course.evaluates(start) and not run.measured(start))
            if start:
                _write_result(model, trainee, saved, config, ranks)
            if start >= course.steps and not unmeasured:
                progress.note(f"{run_dir}: the run is finished")
                return model
            for images in (data.train, data.test):  # a broken one shows now, not hours later
                images.check(model.image_shape[1:])
            trainer = Trainer(
                build(trainee, batch_size=config.batch_size, threads=config.threads),
                trainee,
                config,
                course.steps,
                ranks,
            )
            trainer.restore(saved)
            run.begin(identity, start, progress.note)
            if unmeasured:
                measure(start)
        progress.begin(start, course.steps)
        window = Window(saved.window if saved else None)
        parts = range(ranks.rank * config.accumulate, (ranks.rank + 1) * config.accumulate)
        with closing(batches.iterate(start, course.steps, parts, config.workers)) as stream:
            for done in range(start + 1, course.steps + 1):
                window.add(trainer.step(done - 1, islice(stream, config.accumulate)))
                means = {**window.means(), "sparsity": trainer.sparsity}
                progress.update(done, means)
                if course.logs(done):
                    run.log({"step": done, "epoch": course.epoch(done), "lr": trainer.lr(done - 1), **means})
                    window = Window()
                stopping = ranks.any(bool(signals.pending))
                if stopping or course.saves(done):
                    run.save(trainer.state(done, window.sums), identity)
                if stopping:
                    raise Interrupted(signals.pending or signal.SIGTERM)
                if course.evaluates(done):
                    with signals.at_once():
                        trainer.save(model)
                        measure(done)
                window.restart_clock()
    return model


def _write_result(
    model: Model, trainee: Model, saved: Checkpoint | None, config: TrainConfig, ranks: Ranks
) -> None:
    """Write into ``model`` what the checkpoint that rank 0 has would be saved as."""
    constants = trainee.constants()
    values = {name: constants[name].values.copy() for name in trainee.roles}
    if saved is not None:
        values = result_of(saved, trainee, config)
    ranks.broadcast([values[name] for name in sorted(values)])
    write(model, values)


@contextmanager
def _explained(run: RunDir | NoRunDir, course: Course) -> Iterator[None]:
    """Let what ends a run early say what is kept of it and how to go on."""
    try:
        yield
    except Interrupted as stop:
        text = f"interrupted; {run.path} is kept at step {run.kept} of {course.steps}"
        raise Interrupted(stop.number, text) from stop
    except DivergedError as error:
        lower = f"lower --lr (it is {course.config.peak_lr:g})"
        fix = f"{lower} or check the weights and the data"
        if run.kept:
            fix = f"{lower} in a new run that begins --from {run.path}, which is kept at step {run.kept}"
        raise TrainingError(error.what, where=error.where, fix=fix) from error
