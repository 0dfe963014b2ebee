"""``onnxcomp sensitivity``: what each layer costs when it alone is compressed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxcomp import files
from onnxcomp.commands import options
from onnxcomp.commands.sections import SectionCommand, option
from onnxcomp.errors import OnnxcompError

if TYPE_CHECKING:
    from onnxcomp.commands.sensitivities import Asked
    from onnxcomp.sensitivity.points import Split

PRUNE, QAT = "With --pass prune", "With --pass qat"
OWN = {
    "prune": {
        "sparsities": "--sparsities",
        "criterion": "--criterion",
        "pattern": "--pattern",
        "exclude": "--exclude",
    },
    "qat": {
        "settings": "--set",
        "target": "--target",
        "calibration_images": "--calibration-images",
        "max_drop": "--max-drop",
    },
}
"""Options of one pass alone."""


@click.command("sensitivity", cls=SectionCommand)
@click.argument("path", metavar="MODEL", type=click.Path(path_type=Path))
@click.option(
    "--pass",
    "pass_name",
    type=click.Choice(list(OWN)),
    default="prune",
    show_default=True,
    help="What is done to a layer.",
)
@options.data(required=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="JSON file to write.")
@click.option("--plot", type=click.Path(path_type=Path), help="PNG file to write (needs matplotlib).")
@option(
    PRUNE,
    "--sparsities",
    metavar="LIST",
    help="Shares of zeros; default: 0.5,0.7,0.8,0.9,0.95, or what an N:M pattern gives.",
)
@option(PRUNE, "--criterion", default="magnitude", show_default=True, help="As of the pass.")
@option(PRUNE, "--pattern", default="unstructured", show_default=True, help="As of the pass.")
@option(
    PRUNE,
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Leave out weights or nodes of this name (as a shell's).",
)
@option(
    QAT,
    "--set",
    "settings",
    multiple=True,
    metavar="qat.OPTION=VALUE",
    help="How a float network becomes INT8.",
)
@option(QAT, "--target", metavar="NAME", help="Where Q/DQ stands in a float network that becomes INT8.")
@option(
    QAT,
    "--calibration-images",
    type=click.IntRange(min=1),
    default=512,
    show_default=True,
    help="Training images for the scales of a float network, and for --max-drop.",
)
@option(
    QAT,
    "--max-drop",
    type=float,
    metavar="POINTS",
    help="Say too which layers qat.float_layers=auto would leave float.",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="Use that many, evenly spaced.",
)
@click.option(
    "--split",
    type=click.Choice(["train", "test"]),
    default="train",
    show_default=True,
    help="Where they come from; what is chosen on test images makes their accuracy flatter.",
)
@options.preprocess
@options.threads
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    help="Folder of what was measured before; default: onnxcomp/sensitivity in the user's cache folder.",
)
@options.as_json
@click.pass_context
def command(
    context: click.Context,
    path: Path,
    pass_name: str,
    data: str,
    output: Path | None,
    plot: Path | None,
    sparsities: str | None,
    criterion: str,
    pattern: str,
    exclude: tuple[str, ...],
    settings: tuple[str, ...],
    target: str | None,
    calibration_images: int,
    max_drop: float | None,
    images: int,
    split: Split,
    preprocess: str | None,
    threads: int | None,
    cache: Path | None,
    as_json: bool,
) -> None:
    """Compress one layer of MODEL at a time and measure the network: top-1 accuracy and what else tells.

    With prune, every layer is pruned to each of the sparsities while the others stay dense; mean
    cross-entropy ranks them, and `onnxcomp apply prune` reads the JSON file with
    prune.allocation=sensitivity. With qat, every layer is in INT8 while the others are float, and float while
    the others are in INT8; the signal-to-quantisation-noise ratio of the logits ranks them. MODEL is a float
    network, or for qat one that `onnxcomp apply` has quantised. Nothing is trained.

    What was measured is kept: a call that asks for more measures only that, and one that was interrupted
    goes on where it stopped.

    \b
    Example:
      onnxcomp sensitivity m.onnx --data cifar10 -o s.json --plot s.png
      onnxcomp sensitivity m.onnx --data cifar10 --pass qat --max-drop 0.2
    """
    from onnxcomp.commands import sensitivities, sensitivity_prune, sensitivity_qat

    _refuse_others(context, pass_name)
    work: sensitivities.Work
    if pass_name == "prune":
        work = sensitivity_prune.read(sparsities, criterion, pattern, exclude)
    else:
        work = sensitivity_qat.read(settings, target, calibration_images, max_drop)
    _check_outputs(path, output, plot)
    asked = _open(path, data, preprocess, images, split, threads, cache)
    sensitivities.run(work, asked, output, plot, as_json=as_json)


def _refuse_others(context: click.Context, pass_name: str) -> None:
    """Options of the pass that is not measured."""
    given = click.core.ParameterSource.COMMANDLINE
    for other, names in OWN.items():
        for name, shown in names.items() if other != pass_name else ():
            if context.get_parameter_source(name) is given:
                raise OnnxcompError(
                    f"is an option of --pass {other}",
                    where=shown,
                    fix=f"leave it out with --pass {pass_name}",
                )


def _check_outputs(path: Path, output: Path | None, plot: Path | None) -> None:
    from onnxcomp.sensitivity import picture

    for written in (output, plot):
        if written is not None:
            files.check_writable(written, keep=path)
    if plot is not None:
        if output is not None and output.absolute() == plot.absolute():
            raise OnnxcompError(
                "is to hold the numbers and the picture", where=str(plot), fix="name another output"
            )
        picture.require()


def _open(
    path: Path,
    data: str,
    preprocess: str | None,
    images: int,
    split: Split,
    threads: int | None,
    cache: Path | None,
) -> Asked:
    from onnxcomp import model as models
    from onnxcomp import runtime
    from onnxcomp.commands.sensitivities import Asked
    from onnxcomp.data import open_data
    from onnxcomp.sensitivity.cache import default_root

    model = models.load(path)
    options.set_preprocessing(model, preprocess)
    data_set = open_data(data)
    options.fit_to_data(model, data_set, path)
    threads = threads or runtime.default_threads()
    return Asked(path, model, data_set, images, split, threads, cache or default_root())
