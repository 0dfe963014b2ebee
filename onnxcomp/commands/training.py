"""The options of a training, for ``train`` and ``compress``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from onnxcomp.commands.sections import option

if TYPE_CHECKING:
    from onnxcomp.training.config import TrainConfig

F = TypeVar("F", bound=Callable[..., Any])

LENGTH, OPTIMISER, IMAGES, RUN = "Steps", "Optimiser", "Images and regularisation", "Run directory"


def options(command: F) -> F:
    """The options of :class:`onnxcomp.training.config.TrainConfig`, but for ``--threads``."""
    for one in reversed(_OPTIONS):
        command = one(command)
    return command


def config(
    threads: int | None, no_decay: tuple[str, ...], lr_scale: tuple[str, ...], **given: Any
) -> TrainConfig:
    """From the values of :func:`options`.

    Raises:
        TrainingError: one is out of range.
    """
    from onnxcomp import runtime
    from onnxcomp.training.config import TrainConfig
    from onnxcomp.training.groups import Groups

    groups = Groups.parse(no_decay, lr_scale)
    return TrainConfig(threads=threads or runtime.default_threads(), groups=groups, **given)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    option(
        LENGTH, "--epochs", type=float, required=True,
        help="Passes over the training images; may be a fraction.",
    ),
    option(
        LENGTH, "--batch-size", type=int, default=32, show_default=True,
        help="Images that the network sees at once, on each rank.",
    ),
    option(
        LENGTH, "--accumulate", type=int, metavar="N", default=1, show_default=True,
        help="Batches in a step; their gradients are averaged.",
    ),
    option(
        LENGTH, "--seed", type=int, default=0, show_default=True,
        help="Of the order and the augmentation of the images.",
    ),
    option(
        LENGTH, "--evaluate-every", type=int, metavar="EPOCHS", default=1, show_default=True,
        help="Between two measurements on the test images; 0: at the end only.",
    ),
    option(
        OPTIMISER, "--optimizer", type=click.Choice(["sgd", "adamw"]), default="sgd", show_default=True,
    ),
    option(
        OPTIMISER, "--lr", type=float,
        help="Highest learning rate; default: 0.005 for sgd, 0.0003 for adamw.",
    ),
    option(
        OPTIMISER, "--schedule", metavar="NAME", default="cosine", show_default=True,
        help="Of the learning rate: cosine, linear, constant, onecycle or"
        " step{milestones=[0.5,0.75] gamma=0.1}.",
    ),
    option(
        OPTIMISER, "--warmup", type=float,
        help="Rising learning rate at the start: a share of the steps below 1, else a number of steps;"
        " default: 0.05, none for onecycle.",
    ),
    option(
        OPTIMISER, "--momentum", type=float, default=0.9, show_default=True,
        help="Of sgd; the first beta of adamw.",
    ),
    option(
        OPTIMISER, "--nesterov/--no-nesterov", default=True, show_default=True,
        help="Kind of sgd's momentum.",
    ),
    option(
        OPTIMISER, "--weight-decay", type=float,
        help="Of matrices and kernels; default: 0.0001 for sgd, 0.01 for adamw.",
    ),
    option(
        OPTIMISER, "--no-decay", multiple=True, metavar="PATTERN",
        help="Tensors without weight decay, by name ('*' stands for anything); may be repeated.",
    ),
    option(
        OPTIMISER, "--lr-scale", multiple=True, metavar="PATTERN=X",
        help="Tensors whose learning rate is X times the others'; 0 freezes them; may be repeated.",
    ),
    option(
        OPTIMISER, "--clip", type=float, metavar="NORM",
        help="Scale gradients down to this Euclidean norm of all together; default: never.",
    ),
    option(
        OPTIMISER, "--ema", type=float, metavar="DECAY",
        help="Measure and save a moving average of the weights, for example 0.999; default: the weights.",
    ),
    option(
        IMAGES, "--augment", metavar="NAMES", default="standard", show_default=True,
        help="none, standard (crop,flip), or a list of: crop, resized-crop, flip, cutout{size=8},"
        " randaugment{n=2 m=9}, autoaugment-cifar10, autoaugment-imagenet, fast-autoaugment-cifar10, ...",
    ),
    option(IMAGES, "--no-augment", "augment", flag_value="none", help="The same as --augment none."),
    option(
        IMAGES, "--label-smoothing", type=float, default=0.0, show_default=True,
        help="Share of the label that is spread over all classes.",
    ),
    option(
        IMAGES, "--batch-norm", type=click.Choice(["train", "frozen"]), default="train", show_default=True,
        help="frozen: normalise with the running statistics and leave them as they are.",
    ),
    option(
        IMAGES, "--teacher-cache", metavar="DIR|off",
        help="Folder of what a teacher says of images that are not augmented, so that it runs once; default:"
        " onnxcomp/teacher in the user's cache folder.",
    ),
    option(IMAGES, "--workers", type=int, default=1, show_default=True, help="Threads that prepare images."),
    option(
        RUN, "--checkpoint-every", type=int, metavar="STEPS", default=200, show_default=True,
        help="There is a checkpoint before each measurement too.",
    ),
    option(RUN, "--keep", type=int, default=2, show_default=True, help="Checkpoints that stay."),
    option(
        RUN, "--log-every", type=int, metavar="STEPS", default=50, show_default=True,
        help="Between two lines of metrics.jsonl, which are means over these steps.",
    ),
    option(RUN, "--tensorboard", is_flag=True, help="Write TensorBoard's event files too."),
)  # fmt: skip
