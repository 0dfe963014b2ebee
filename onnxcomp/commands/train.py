"""``onnxcomp train``: train a network in compression form, or fine-tune a plain one."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxcomp.commands import dry, options, training
from onnxcomp.commands.sections import SectionCommand
from onnxcomp.errors import OnnxcompError

if TYPE_CHECKING:
    from onnxcomp.model import Model
    from onnxcomp.training.config import TrainConfig
    from onnxcomp.training.run_dir import RunDir


@click.command("train", cls=SectionCommand)
@click.argument("model_path", metavar="MODEL", type=click.Path(path_type=Path))
@options.output
@options.data(required=True)
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path),
    help="Folder for metrics and checkpoints; default: runs/ and the output's name.",
)
@options.resume
@click.option(
    "--from",
    "weights_from",
    metavar="RUN_DIR",
    type=click.Path(path_type=Path),
    help="Begin with the weights of that run's last checkpoint, for example with a lower --lr.",
)
@click.option(
    "--explain",
    is_flag=True,
    is_eager=True,
    help="Print how MODEL becomes a training step, and stop: only MODEL is needed.",
)
@options.preprocess
@options.threads
@training.options
@dry.option
@options.as_json
def command(
    model_path: Path,
    output: Path,
    data: str,
    run_dir: Path | None,
    resume: bool,
    weights_from: Path | None,
    explain: bool,
    preprocess: str | None,
    dry_run: bool,
    as_json: bool,
    **settings: Any,
) -> None:
    """Train MODEL on the training images of DATA.

    MODEL is what `onnxcomp apply` wrote, or a plain network, which is fine-tuned on the labels
    alone. The result has the same form. A run that was stopped continues with --resume and ends
    with the same weights as one that was not. Under mpirun each process trains on its share of every
    step.

    \b
    Example:
      onnxcomp train c.onnx -o t.onnx --data cifar10 --epochs 5 --run-dir runs/a
    """
    from onnxcomp import model as models
    from onnxcomp import provenance
    from onnxcomp.data import open_data
    from onnxcomp.outlook import Outlook
    from onnxcomp.report.console import console, to_json, working
    from onnxcomp.training.loop import train
    from onnxcomp.training.plan import Plan
    from onnxcomp.training.progress import ConsoleProgress
    from onnxcomp.training.ranks import open_ranks
    from onnxcomp.training.rehearsal import rehearse
    from onnxcomp.training.run_dir import RunDir, check_output

    if explain:
        config = training.config(**{**settings, "epochs": settings["epochs"] or 1})
        _explain(model_path, config, as_json=as_json)
        return
    config = training.config(**settings)
    run_dir = run_dir or Path("runs") / output.stem
    options.check_output(output, model_path, data)
    check_output(run_dir, output)
    origin = provenance.Origin.of(options.command_words(), model_path)
    with options.resumable(resume=resume):
        ranks = open_ranks()
        with working(f"reading {model_path}"):
            network = [models.load(model_path)]  # a list: nothing here holds the network while it trains
            options.set_preprocessing(network[0], preprocess)
            data_set = open_data(data)
        options.fit_to_data(network[0], data_set, model_path)
        if dry_run:
            with ConsoleProgress(console(stderr=True)) as progress, options.about(model_path) as shown:
                plan = Plan.of(
                    shown(network.pop()),
                    data_set,
                    config,
                    ranks,
                    weights_from=weights_from,
                    note=options.warn,
                )
                found = rehearse(
                    plan, data_set, run_dir, ranks, resume=resume, note=options.warn, progress=progress
                )
            if ranks.rank == 0:
                dry.tell(found + Outlook((), (output,)), as_json=as_json)
            return
        with (
            ConsoleProgress(console(stderr=True)) as progress,
            options.about(model_path) as shown,
            provenance.recorded(run_dir, origin, data_set) if ranks.rank == 0 else nullcontext(),
        ):
            trained = train(
                shown(network.pop()), data_set, config, run_dir,
                resume=resume, progress=progress, ranks=ranks, weights_from=weights_from,
            )  # fmt: skip
        if ranks.rank > 0:
            return
        with working(f"writing {output}"):
            _save(trained, output)
            provenance.finish(run_dir, [output])
            run = RunDir(run_dir, resume=True)
            run.draw()
    result = _result(run, output)
    if as_json:
        click.echo(to_json(result))
    else:
        click.echo(f"test accuracy {result['test_accuracy']:.2f} %, metrics in {run_dir}, wrote {output}")


def _explain(path: Path, config: TrainConfig, *, as_json: bool) -> None:
    from onnxcomp import model as models
    from onnxcomp.report.console import table, to_json
    from onnxcomp.training import phases
    from onnxcomp.training.engine import build
    from onnxcomp.training.setup import trainee_of

    with options.about(path) as shown:
        trainee = trainee_of(shown(models.load(path)), config)
        engine = build(trainee, batch_size=config.batch_size, threads=config.threads, projected=True)
    if as_json:
        found = {"model": str(path), "rewrites": engine.rewrites, "phases": phases.lines(trainee)}
        click.echo(to_json(found))
        return
    rows = [(rewrite.name, rewrite.nodes, rewrite.when) for rewrite in engine.rewrites if rewrite.nodes]
    table(f"{path}, {len(trainee.graph.nodes)} nodes", ("rewrite", "nodes", "takes"), rows)
    click.echo("nothing to do for: " + ", ".join(r.name for r in engine.rewrites if not r.nodes))
    for line in phases.lines(trainee):
        click.echo(line)


def _save(trained: Model, output: Path) -> None:
    from onnxcomp import files
    from onnxcomp import model as models

    files.remove_parts(output.parent, of=output.name)
    try:
        models.save(trained, output)
    except OnnxcompError as error:
        fix = "the run itself is complete: make room, then --resume writes its result"
        raise OnnxcompError(error.what, where=error.where, fix=fix) from error


def _result(run: RunDir, output: Path) -> dict[str, Any]:
    """The last line of each kind of metrics; lines may have been lost since, but not the last measurement."""
    records = run.journal.records()
    last: dict[str, Any] = next((record for record in reversed(records) if "event" not in record), {})
    epochs = [record for record in records if record.get("event") == "epoch"]
    return {
        "output": str(output),
        "run_dir": str(run.path),
        "steps": epochs[-1]["step"],
        "test_accuracy": epochs[-1]["test_accuracy"],
        "sparsity": last.get("sparsity"),
        "epochs": [{key: record[key] for key in ("epoch", "step", "test_accuracy")} for record in epochs],
    }
