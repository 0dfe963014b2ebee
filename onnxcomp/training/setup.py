"""From what the user gives to what the loop trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from onnxcomp import losses, pipeline
from onnxcomp.data import DataSet, TrainingBatches
from onnxcomp.errors import CheckpointError, TrainingError
from onnxcomp.model import LABELS, Form, Model, Role
from onnxcomp.preprocess import ensure_preprocessing
from onnxcomp.training import quantization
from onnxcomp.training.checkpoints import Checkpoints
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.ranks import Ranks
from onnxcomp.training.run_dir import CHECKPOINTS
from onnxcomp.training.trainer import write


def prepared(model: Model, data: DataSet) -> Model:
    """A copy that knows its preprocessing and its classes.

    Raises:
        TrainingError: it is finalised.
        DataError: the classes of ``data`` are not the network's.
    """
    if model.form is Form.DEPLOYABLE:
        raise TrainingError(
            "is finalised and cannot be trained",
            where=model.graph.name,
            fix="train the file that finalize was given",
        )
    model = model.copy()
    ensure_preprocessing(model, data)
    return model


def check_labels(model: Model, data: DataSet) -> None:
    """Refuse training images without labels where a loss of ``model`` reads them.

    Raises:
        DataError: so it is.
    """
    if model.form is Form.INFERENCE or any(tensor.name == LABELS for tensor in model.graph.inputs):
        data.require_labels("a loss of this training", "apply distill with --set distill.labels=false")


def begin_from(model: Model, folder: Path, note: Callable[[str], None]) -> None:
    """Write the weights of the run in ``folder``, at its newest good checkpoint, into ``model``.

    Masks, scales and running statistics come along; the optimiser's state and averaged weights do not.

    Args:
        note: told in a line of each checkpoint that is damaged, and which one was taken.

    Raises:
        CheckpointError: there is none, none is good, or it is of another network.
    """
    found = Checkpoints(folder / CHECKPOINTS, keep=1).newest(lambda identity, where: None, note)
    if found is None:
        raise CheckpointError(
            "holds no checkpoint to begin from", where=str(folder), fix="choose another --from"
        )
    state, _ = found
    constants = model.constants()
    for name, array in state.parameters.items():
        if name not in constants or tuple(constants[name].shape) != array.shape:
            raise CheckpointError(
                f"its checkpoint has a tensor {name} {array.shape} that the network has not",
                where=str(folder),
                fix="give the network that it was a run of",
            )
    write(model, state.parameters)
    note(f"beginning from {folder} at its step {state.step}")


def share_weights(model: Model, ranks: Ranks) -> None:
    """Write what training moves of rank 0's ``model`` into the others': what they prune follows from it."""
    if ranks.size > 1:
        constants = model.constants()
        moved = sorted(name for name, role in model.roles.items() if role is not Role.TEACHER)
        values = {name: constants[name].values.copy() for name in moved}
        ranks.broadcast(values.values())
        write(model, values)


def training_batches(model: Model, data: DataSet, config: TrainConfig, ranks: int = 1) -> TrainingBatches:
    """The batches that ``config`` asks for, as ``model`` takes them; its preprocessing is known.

    Raises:
        DataError: there are fewer images than a step takes, or there is no such augmentation.
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
        parts=ranks * config.accumulate,
    )


def trainee_of(model: Model, config: TrainConfig) -> Model:
    """The compression form that the engine is built for; ``model`` stays as it is.

    It has the task loss, smoothed where ``config`` asks for it; scales that learn have their role; frozen
    statistics are no longer among what a step moves, so that the engine normalises with them.

    Raises:
        ModelError: the model is quantised already or gives probabilities.
    """
    trainee = pipeline.with_task_loss(model).copy()
    if config.label_smoothing:
        losses.smooth_labels(trainee, config.label_smoothing)
    quantization.learn_scales(trainee)
    if config.batch_norm == "frozen":
        trainee.roles = {name: role for name, role in trainee.roles.items() if role is not Role.STATISTIC}
    return trainee
