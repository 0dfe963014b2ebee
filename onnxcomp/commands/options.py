"""Options that several commands share, and how they are read.

Nothing heavy is loaded by this or by a command's module itself: a shell that completes a word waits for it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from onnxcomp import files, launcher
from onnxcomp.commands.sections import ExcusableOption
from onnxcomp.completion import values
from onnxcomp.errors import OnnxcompError, RecipeError
from onnxcomp.interrupts import Interrupted, Signals
from onnxcomp.providers import PROVIDERS
from onnxcomp.visible import visible

if TYPE_CHECKING:
    from onnxcomp.data import DataSet
    from onnxcomp.model import Model
    from onnxcomp.recipe import Recipe

F = TypeVar("F", bound=Callable[..., Any])

output = click.option(
    "-o",
    "--output",
    cls=ExcusableOption,
    required=True,
    type=click.Path(path_type=Path),
    help="File to write.",
)
recipe = click.option(
    "--recipe", "recipe_file", type=click.Path(path_type=Path), help="Passes from a YAML file."
)
settings = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="PASS.OPTION=VALUE",
    shell_complete=values.settings,
    help="Override an option.",
)
teacher = click.option(
    "--teacher",
    "teachers",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="ONNX file that distill learns from, of any architecture; repeated: an ensemble; default: MODEL.",
)
calibration_images = click.option(
    "--calibration-images",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Training images that passes look at, where they do: qat for its scales, prune for the criteria"
    " taylor, obd and obs.",
)
calibration_cache = click.option(
    "--calibration-cache",
    type=click.Path(path_type=Path),
    help="Folder of what qat saw of a network and images before, so that it need not look again; default:"
    " onnxcomp/calibration in the user's cache folder.",
)
preprocess = click.option(
    "--preprocess",
    metavar="NAME|MEAN/STD",
    help="cifar10, imagenet or 'm,m,m/s,s,s' in 0..255, instead of what the file says.",
)
threads = click.option(
    "--threads", type=click.IntRange(min=1), default=None, help="Of ONNX Runtime; default: physical cores."
)
limit = click.option(
    "--limit", type=click.IntRange(min=1), help="Use that many test images, evenly spaced; default: all."
)
batch_size = click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    help="Images per run; a network's fixed batch goes before it.",
)
provider = click.option(
    "--provider",
    type=click.Choice(PROVIDERS),
    default="cpu",
    show_default=True,
    help="Of ONNX Runtime; one that cannot run the whole network is an error.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def data(*, required: bool) -> Callable[[F], F]:
    """The option ``--data``."""
    text = "digits, cifar10, a CIFAR-10 archive, an image folder or its zip, or an .npz."
    return click.option(
        "--data",
        cls=ExcusableOption,
        required=required,
        metavar="DATA",
        shell_complete=values.data_sets,
        help=text,
    )


def passes_and_model(operands: tuple[str, ...], recipe_file: Path | None) -> tuple[str | None, Path]:
    """Split ``[PASSES] MODEL``.

    Raises:
        click.UsageError: too many or too few operands.
    """
    wanted = 1 if recipe_file else 2
    if len(operands) != wanted:
        shape = "MODEL (the recipe file names the passes)" if recipe_file else "PASSES MODEL"
        raise click.UsageError(f"{shape} is expected, for example: prune,qat,distill m.onnx")
    return (None if recipe_file else operands[0]), Path(operands[-1])


def read_recipe(
    text: str | None, recipe_file: Path | None, changes: tuple[str, ...], teachers: tuple[Path, ...] = ()
) -> Recipe:
    """The recipe from text or file, with ``--teacher`` and ``--set`` applied, in a legal order.

    Raises:
        RecipeError: as the readers of recipes.
    """
    from onnxcomp import recipe as recipes
    from onnxcomp import recipe_file as recipe_files

    if text is None:
        if recipe_file is None:
            raise RecipeError("no pass is named", fix="for example: prune,qat,distill")
        read = recipe_files.load(recipe_file)
    else:
        read = recipes.parse(text)
    if teachers:
        if read.find("distill") is None:
            raise RecipeError(
                "the recipe has no pass distill", where="--teacher", fix="add distill to the recipe"
            )
        if any(change.partition("=")[0].strip() == "distill.teacher" for change in changes):
            raise RecipeError(
                "--set distill.teacher names teachers too", where="--teacher", fix="name all with --teacher"
            )
        changes = (f"distill.teacher={json.dumps([str(path) for path in teachers])}", *changes)
    read = recipes.with_settings(read, changes)
    read.check_order()
    return read


def set_preprocessing(model: Model, text: str | None) -> None:
    """Let ``--preprocess`` fill in what the file does not say, or replace it.

    Raises:
        ModelError: as the reader, or it is for another number of channels.
    """
    if text is not None:
        from onnxcomp.preprocess import check_channels, parse_preprocessing

        preprocessing = parse_preprocessing(text)
        check_channels(preprocessing, model)
        model.preprocessing = preprocessing


def fit_to_data(model: Model, data_set: DataSet, path: Path) -> None:
    """Let the data set say what the file does not, and tell the user what was assumed.

    Raises:
        DataError: the classes are not the network's.
    """
    from onnxcomp.preprocess import ensure_preprocessing

    assumed = model.preprocessing is None
    ensure_preprocessing(model, data_set)
    if assumed:
        click.echo(
            f"{path} does not say how its images are normalised: taking the mean and deviation of"
            f" {data_set.name}; give --preprocess if it was trained with others",
            err=True,
        )


def calibration_folder(given: Path | None) -> Path:
    """The folder of ``--calibration-cache``; created when there is something to keep.

    Raises:
        OnnxcompError: it was given and cannot be created or written.
    """
    from onnxcomp import kept

    if given is None:
        return kept.default_root("calibration")
    if given.exists() and not given.is_dir():
        raise OnnxcompError("is not a folder", where=str(given), fix="name a folder for --calibration-cache")
    files.check_writable(given / "calibration" if given.exists() else given)
    return given


def warn(line: str) -> None:
    """Say on stderr what does no harm."""
    click.echo(visible(line), err=True)


@contextmanager
def about(path: Path) -> Iterator[Callable[[Model], Model]]:
    """Let an error about the network, or about one of its nodes, name the file that the user gave.

    Gives a function that is shown the network and gives it back: it is not held here.
    """
    names = []

    def shown(model: Model) -> Model:
        names.append(model.graph.name)
        return model

    try:
        yield shown
    except OnnxcompError as error:
        if error.where in names:
            where = str(path)
        elif error.where.startswith("node "):
            where = f"{path}: {error.where}"
        else:
            raise
        raise type(error)(error.what, where=where, fix=error.fix) from error


def command_words() -> list[str]:
    """What stands behind ``onnxcomp`` on the command line."""
    found: list[str] = click.get_current_context().find_root().obj
    return found


def teachers_of(recipe: Recipe) -> list[Path]:
    """The files that the pass distill of a recipe learns from."""
    found: Any = recipe.find("distill")
    return [] if found is None else [Path(name) for name in found.teacher]


def check_output(output: Path, *read: str | Path | None) -> None:
    """Refuse an output that cannot be written, or that is a file which is read.

    Raises:
        OnnxcompError: as :func:`onnxcomp.files.check_writable`.
    """
    from onnxcomp import files

    for name in read:
        files.check_writable(output, keep=None if name is None else Path(name))


@contextmanager
def resumable(*, resume: bool) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end a command in one line that says how to go on.

    Args:
        resume: whether ``--resume`` was given.

    Raises:
        Interrupted: a signal came.
    """
    try:
        with Signals() as signals, signals.at_once():
            yield
    except Interrupted as stop:
        words = ["onnxcomp", *click.get_current_context().find_root().obj]
        ranks = launcher.launch().size
        if ranks > 1:
            words = ["mpirun", "-n", str(ranks), *words]
        go_on = shlex.join(words if resume else [*words, "--resume"])
        raise Interrupted(stop.number, f"{stop.text or 'interrupted'}; continue with: {go_on}") from stop


resume = click.option(
    "--resume", is_flag=True, help="Continue the run in --run-dir exactly where it stopped."
)
_names = "xavier, orin, h200, ort-cpu and others (see onnxcomp targets), or a .yaml file of your own"


def _target(text: str, *, required: bool = False) -> Callable[[F], F]:
    return click.option(
        "--target", required=required, metavar="NAME", shell_complete=values.targets, help=text
    )


target = _target(f"{_names}.", required=True)
target_of_widths = _target(f"{_names}: channels keeps to widths that are fast there.")
target_of_savings = _target(f"{_names}: what zeros and widths bring there; default: a line for each kind.")
