"""The whole road on scikit-learn's digits, in minutes on two cores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from onnxcomp import provenance
from onnxcomp import recipe as recipes
from onnxcomp.compress import Job, Row
from onnxcomp.data import open_data
from onnxcomp.deploy.targets import get_target
from onnxcomp.models import build
from onnxcomp.provenance import Origin
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.loop import train
from onnxcomp.training.progress import Progress

NETWORK = "densenet-bc-40-12"
IMAGE_SIZE = 8
DENSE_EPOCHS = 15
EPOCHS = 8
RECIPES = {
    "pruned": "prune{sparsity=0.8}",
    "+ INT8": "prune{sparsity=0.8},qat",
    "+ distilled": "prune{sparsity=0.8},qat,distill",
}


def demo(
    run_dir: Path, *, threads: int, progress: Progress, resume: bool = False, origin: Origin | None = None
) -> list[Row]:
    """Train a small DenseNet on digits, then compress it in three ways of equal budget.

    Args:
        run_dir: new or empty unless ``resume``; receives a folder for each network.
        resume: continue what is in ``run_dir``; finished steps are not done again.
        origin: the command line, for ``run.json``.

    Returns:
        Rows for dense, dense trained for the same budget again, pruned, + INT8 and + distilled.

    Raises:
        OnnxcompError: as the single steps.
    """
    origin, data = origin or Origin(), open_data("digits")
    config = TrainConfig(EPOCHS, threads=threads, lr=0.05)
    progress.note(f"train {NETWORK} on {data.name} for {DENSE_EPOCHS} epochs")
    network = build(NETWORK, num_classes=len(data.classes), input_size=IMAGE_SIZE)
    network.preprocessing = None  # the digits' own
    with provenance.recorded(run_dir / "dense", origin, data):
        dense = train(
            network,
            data,
            replace(config, epochs=DENSE_EPOCHS, lr=0.1),
            run_dir / "dense",
            resume=resume and run_dir.exists(),
            progress=progress,
        )
    rows: list[Row] = []
    for name, text in RECIPES.items():
        folder = run_dir / name.removeprefix("+ ").lower()
        go_on = resume and folder.exists()
        job = Job(data, config, get_target("ort-cpu"), folder, progress, go_on, origin=origin)
        found = job.compress(dense, recipes.parse(text), baseline=not rows)
        if not rows:
            rows += found[:2]
        rows.append(replace(found[-1], name=name))
    return rows
