"""Train a network: one loop, readable from top to bottom."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from onnxcomp import memory
from onnxcomp.data import DataSet, TrainingBatches
from onnxcomp.errors import TrainingError
from onnxcomp.interrupts import Interrupted, Signals
from onnxcomp.model import Model, Role
from onnxcomp.training import engine, phases
from onnxcomp.training.checkpoint import Checkpoint
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.course import Course
from onnxcomp.training.evaluation import Evaluate, on_test_images
from onnxcomp.training.global_step import Batch
from onnxcomp.training.identity import Identity
from onnxcomp.training.no_run_dir import NoRunDir
from onnxcomp.training.plan import Plan
from onnxcomp.training.progress import Progress, Silent
from onnxcomp.training.ranks import Alone, Ranks
from onnxcomp.training.run_dir import RunDir
from onnxcomp.training.setup import trainee_of
from onnxcomp.training.stages import Stages
from onnxcomp.training.teacher_cache import Request, TeacherCache
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
    with progress.working("preparing the run"):
        plan = Plan.of(model, data, config, ranks, weights_from=weights_from, note=progress.note)
    model, course, identity = plan.model, plan.course, plan.identity
    evaluate = evaluate or on_test_images(data, config.threads, ranks, progress)
    with Signals(wait=ranks.size > 1) as signals, run, _explained(run, course):
        training = _Training(
            model,
            plan.batches,
            config,
            course,
            plan.stages,
            identity,
            evaluate,
            run,
            ranks,
            progress,
            signals,
        )
        with signals.at_once():
            saved = run.saved(identity, progress.note)
            if resume and saved is None:
                progress.note(f"{run_dir}: nothing to resume, the run starts from its beginning")
            trainer = training.begin(saved, data, build)
        if trainer is not None:
            training.steps(trainer, Window(saved.window if saved else None))
    return model


@dataclass(frozen=True)
class _Training:
    """What a run consists of, but for what is built when it begins.

    Attributes:
        model: receives the values that are measured, and in the end the result.
        teacher: what it says of the images, where that is known.
    """

    model: Model
    batches: TrainingBatches
    config: TrainConfig
    course: Course
    stages: Stages
    identity: Identity
    evaluate: Evaluate
    run: RunDir | NoRunDir
    ranks: Ranks
    progress: Progress
    signals: Signals
    teacher: list[TeacherCache] = field(default_factory=list)

    def begin(
        self, saved: Checkpoint | None, data: DataSet, build: Callable[..., engine.Engine]
    ) -> Trainer | None:
        """Build, and continue after what rank 0 has ``saved``; None where the run is finished."""
        run, config, steps = self.run, self.config, self.course.steps
        trainee = trainee_of(self.model, config)
        start = self.ranks.share(run.kept)
        unmeasured = self.ranks.share(self.course.evaluates(start) and not run.measured(start))
        if start:
            _write_result(self.model, trainee, saved, self.course, self.ranks)
        if start >= steps and not unmeasured:
            self.progress.note(f"{run.path}: the run is finished")
            return None
        with self.progress.counting("images read", len(data.train) + len(data.test)) as advance:
            for images in (data.train, data.test):  # a broken one shows now, not hours later
                images.check(self.model.image_shape[1:], advance)
        self.teacher.extend(self._teacher_cache(trainee))
        with self.progress.working("building the step"):
            built = phases.build(trainee, config, steps, start, build)
            trainer = Trainer(built, trainee, config, steps, self.ranks)
            trainer.restore(saved)
        run.begin(self.identity, start, self.progress.note)
        if unmeasured:
            self.measure(start)
        built.save(self.model)  # so that what it was made of is not held twice
        memory.release()
        self.progress.begin(start, steps)
        return trainer

    def steps(self, trainer: Trainer, window: Window) -> None:
        """The loop: from the step that the run is kept at to the last."""
        config, course, run, rank = self.config, self.course, self.run, self.ranks.rank
        start, per_step = run.kept, config.accumulate
        parts = range(rank * per_step, (rank + 1) * per_step)
        stages = self.stages
        with closing(self.batches.iterate(start, course.steps, parts, config.workers)) as images:
            stream: Iterator[Batch] = images
            for cache in self.teacher:
                places = (self.batches.indices(s, p) for s in range(start, course.steps) for p in parts)
                stream = cache.beside(images, places)
            for done in range(start + 1, course.steps + 1):
                if stages.several and (done == start + 1 or stages.ends(done - 1)):
                    self.progress.note(stages.line(done - 1))
                window.add(trainer.step(done - 1, islice(stream, per_step)))
                means = {**window.means(), "sparsity": trainer.sparsity}
                self.progress.update(done, means)
                if course.logs(done) or stages.ends(done):  # no line is about two stages' losses
                    run.log({"step": done, "epoch": course.epoch(done), "lr": trainer.lr(done - 1), **means})
                    window = Window()
                stopping = self.ranks.any(bool(self.signals.pending))
                if stopping or course.saves(done):
                    run.save(trainer.state(done, window.sums), self.identity)
                if stopping:
                    raise Interrupted(self.signals.pending or signal.SIGTERM)
                if course.evaluates(done):
                    with self.signals.at_once():
                        trainer.save(self.model)
                        self.measure(done)
                window.restart_clock()

    def _teacher_cache(self, trainee: Model) -> list[TeacherCache]:
        """What the teacher of ``trainee`` says of all images, where it does not run at each step."""
        config = self.config
        if config.teacher_cache == "off":
            return []
        folder = None if config.teacher_cache is None else Path(config.teacher_cache)
        request = Request(trainee, self.batches, folder, config.threads, self.progress.note, self._taught)
        found = request.open_on(self.ranks)
        return [] if found is None else [found]

    def _taught(self, done: int, images: int) -> None:
        """Show that the teacher ran on ``done`` of ``images`` images."""
        if done <= self.config.batch_size:
            self.progress.begin(0, images, "teacher's image")
        self.progress.update(done, {})

    def measure(self, done: int) -> None:
        """Test accuracy of :attr:`model`, which holds the values after ``done`` steps."""
        accuracy, epoch = self.evaluate(self.model), self.course.epoch(done)
        self.run.log({"event": "epoch", "step": done, "epoch": epoch, "test_accuracy": accuracy})
        self.progress.note(f"epoch {epoch:g}: test accuracy {accuracy:.2f} %")


def _write_result(
    model: Model, trainee: Model, saved: Checkpoint | None, course: Course, ranks: Ranks
) -> None:
    """Write into ``model`` what the checkpoint that rank 0 has would be saved as."""
    constants = trainee.constants()
    moved = [name for name, role in trainee.roles.items() if role is not Role.TEACHER]
    values = {name: constants[name].values.copy() for name in moved}
    if saved is not None:
        values = result_of(saved, trainee, course.config, course.steps)
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
