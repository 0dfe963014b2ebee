"""Train a network: one loop, readable from top to bottom."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np

from onnxcomp import pipeline
from onnxcomp.data import DataSet, TrainingBatches
from onnxcomp.errors import TrainingError
from onnxcomp.model import Form, Model
from onnxcomp.preprocess import ensure_preprocessing
from onnxcomp.training import checkpoint, engine
from onnxcomp.training.checkpoint import Identity
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.optim import Array
from onnxcomp.training.progress import Progress, Silent
from onnxcomp.training.run_dir import RunDir
from onnxcomp.training.trainer import Trainer
from onnxcomp.training.window import Window

Evaluate = Callable[[Model], float]
SAMPLE = 16
"""Images that tell one data set from another, besides all labels."""


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
) -> Model:
    """Train ``model`` on the training images of ``data``; the argument itself is left as it is.

    A run that was killed at any moment and is resumed ends with the same weights, bit for bit, as
    one that was not (with the same number of threads).

    Args:
        model: compression form, or inference form, which is trained on the labels alone.
        run_dir: receives config, metrics and checkpoints; new or empty unless ``resume``.
        resume: continue the run in ``run_dir``; one that is finished gives its result at once.
        evaluate: test accuracy of a network in percent; by default on the test images of ``data``.
        build: makes the engine.

    Returns:
        A network of the same form with the trained values.

    Raises:
        TrainingError: the network cannot be trained, ``run_dir`` does not fit, or the loss is no
            longer a number (the last checkpoint stays).
        CheckpointError: what is to be resumed is damaged or of another model, data or settings.
        DataError: the classes of ``data`` are not the network's, or one of its images is broken.
    """
    progress = progress or Silent()
    run = RunDir(run_dir, resume=resume)
    model = _prepared(model, data)
    batches = training_batches(model, data, config)
    per_epoch, steps = batches.steps_per_epoch, config.steps(batches.steps_per_epoch)
    identity = Identity(checkpoint.fingerprint(model), {**config.settings(), "data": describe(data)})
    saved = run.saved(identity)
    if resume and saved is None:
        progress.note(f"{run_dir}: nothing to resume, the run starts from its beginning")
    if saved is not None and saved.step >= steps:
        progress.note(f"{run_dir}: the run is finished")
        return _with_values(model, saved.parameters)

    for images in (data.train, data.test):  # a broken one shows now, not hours later
        images.check(model.image_shape[1:])
    evaluate = evaluate or _on_test_images(data, config.threads)
    trainee = pipeline.with_task_loss(model)
    trainer = Trainer(
        build(trainee, batch_size=config.batch_size, threads=config.threads), trainee, config, steps
    )
    if saved is not None:
        trainer.restore(saved)
    start = saved.step if saved else 0
    run.begin(identity, start)
    progress.begin(start, steps)
    window = Window()
    with closing(batches.iterate(start, steps)) as stream:
        for done, (inputs, labels) in enumerate(stream, start + 1):
            result = trainer.step(done - 1, inputs, labels)
            window.add(result.losses, result.logits, labels)
            means = {**window.means(), "sparsity": trainer.sparsity}
            epoch = done / per_epoch
            progress.update(done, means)
            if done % config.log_every == 0 or done == steps:
                run.log({"step": done, "epoch": epoch, "lr": trainer.lr(done - 1), **means})
                window = Window()
            evaluates = _evaluates(done, steps, per_epoch, config.evaluate_every)
            if evaluates:
                accuracy = evaluate(_with_values(model, trainer.parameters))
                run.log({"event": "epoch", "step": done, "epoch": epoch, "test_accuracy": accuracy})
                progress.note(f"epoch {epoch:g}: test accuracy {accuracy:.2f} %")
            # Last, so that a checkpoint vouches for the metrics up to its step.
            if evaluates or done % config.checkpoint_every == 0:
                checkpoint.save(run.checkpoint, trainer.state(done), identity, masks=trainer.masks)
            window.restart_clock()
    return _with_values(model, trainer.parameters)


def describe(data: DataSet) -> str:
    """Name, size and a digest of the labels and of some images: tells data sets apart."""
    digest = hashlib.sha256(repr(data.classes).encode() + data.train.labels.tobytes())
    some = np.linspace(0, len(data.train) - 1, SAMPLE).astype(np.int64)
    for index in some:
        digest.update(data.train.source.image(int(index)).tobytes())
    return f"{data.name} ({len(data.train)} images, {digest.hexdigest()[:12]})"


def _prepared(model: Model, data: DataSet) -> Model:
    if model.form is Form.DEPLOYABLE:
        raise TrainingError(
            "is finalised and cannot be trained",
            where=model.graph.name,
            fix="train the file that finalize was given",
        )
    model = model.copy()
    ensure_preprocessing(model, data)
    return model


def training_batches(model: Model, data: DataSet, config: TrainConfig) -> TrainingBatches:
    """The batches that ``config`` asks for, as ``model`` takes them; its preprocessing is known.

    Raises:
        DataError: there are fewer images than a batch takes.
    """
    channels, height, width = model.image_shape
    assert model.preprocessing is not None
    return TrainingBatches(
        data.train,
        (height, width),
        model.preprocessing,
        channels,
        config.batch_size,
        config.seed,
        config.augment,
    )


def _evaluates(done: int, steps: int, per_epoch: int, every: int) -> bool:
    if done == steps:
        return True
    return every > 0 and done % (every * per_epoch) == 0


def _on_test_images(data: DataSet, threads: int) -> Evaluate:
    from onnxcomp.parity.accuracy import accuracy

    return lambda model: accuracy(model, data.test, threads=threads)


def _with_values(model: Model, values: Mapping[str, Array]) -> Model:
    """``model`` itself, its constants replaced by copies of ``values`` of the same name."""
    for name, constant in model.constants().items():
        if name in values:
            constant.values = values[name].copy()
    return model
