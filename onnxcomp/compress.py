"""All of the road in one run directory: apply, train, finalize, evaluate."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from onnxcomp import files, ingredients, pipeline, provenance, recipe_file, sources
from onnxcomp import model as models
from onnxcomp.data import DataSet
from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.deploy.targets import Target
from onnxcomp.deploy.write import write
from onnxcomp.errors import TrainingError
from onnxcomp.ingredients import Ingredients
from onnxcomp.model import Form, Model
from onnxcomp.passes.distill import Distill
from onnxcomp.preprocess import ensure_preprocessing
from onnxcomp.provenance import Origin
from onnxcomp.recipe import Recipe
from onnxcomp.report.console import to_json
from onnxcomp.report.evaluation import Evaluation, evaluate
from onnxcomp.sources import Show
from onnxcomp.training import lock
from onnxcomp.training.config import TrainConfig
from onnxcomp.training.loop import train
from onnxcomp.training.plan import Plan
from onnxcomp.training.progress import Progress
from onnxcomp.training.ranks import Alone
from onnxcomp.training.run_dir import RunDir
from onnxcomp.training.setup import training_batches

DENSE, BASELINE, COMPRESSED, TRAINED, DEPLOYABLE = (
    f"{name}.onnx" for name in ("dense", "baseline", "compressed", "trained", "deployable")
)
RESULTS, RECIPE = "results.json", "recipe.yaml"
TRAINING, BASELINE_TRAINING = "training", "baseline"


def _quiet() -> AbstractContextManager[Show]:
    return nullcontext(sources.quiet)


@dataclass(frozen=True)
class Row:
    """One network of the table.

    Attributes:
        name: as the table calls it.
        file: what was measured.
    """

    name: str
    file: str
    evaluation: Evaluation


@dataclass(frozen=True)
class Job:
    """What ``compress`` is asked to do.

    Attributes:
        data: trains, calibrates and measures.
        config: of the training.
        target: what the deployable file is for.
        run_dir: new or empty, unless ``resume``; receives every file.
        resume: continue what is in ``run_dir``; finished steps are not done again.
        calibration_images: that passes look at, where they do.
        calibration_cache: folder of what calibration saw before; None for none.
        warn: told in one line what is wrong with it.
        progress: shows the training.
        bars: a context whose value shows what a pass asks of the data.
        origin: the command line and its files, for ``run.json``.
    """

    data: DataSet
    config: TrainConfig
    target: Target
    run_dir: Path
    progress: Progress
    resume: bool = False
    calibration_images: int = 512
    calibration_cache: Path | None = None
    warn: Callable[[str], None] = lambda line: None
    bars: Callable[[], AbstractContextManager[Show]] = _quiet
    origin: Origin = field(default_factory=Origin)

    def compress(self, model: Model, recipe: Recipe, *, baseline: bool = False) -> list[Row]:
        """Compress ``model`` and measure it beside the dense one, on the test images.

        Args:
            model: inference form.
            baseline: train the dense network for the same budget too: the honest comparison for a
                network that was not fully trained.

        Returns:
            Rows for the dense network as given, the dense one trained on (with ``baseline``) and the
            deployable file; ``results.json`` holds them too.

        Raises:
            OnnxcompError: as the single steps.
        """
        model = self.checked(model, recipe, baseline=baseline)
        files.make_folder(self.run_dir)
        with lock.hold(self.run_dir):
            files.remove_parts(self.run_dir)
            return self._rows(model, recipe, baseline)

    def _rows(self, model: Model, recipe: Recipe, baseline: bool) -> list[Row]:
        started = provenance.now()
        self.progress.note(f"apply {recipe}")
        compressed = self._applied(model, recipe)
        about = {"recipe": str(recipe), "target": self.target.name}
        provenance.begin(self.run_dir, self.origin, self.data, started=started, **about)
        with files.atomic_path(self.run_dir / RECIPE) as temporary:
            temporary.write_text(recipe_file.dump(recipe), encoding="utf-8")
        models.save(model, self.run_dir / DENSE)
        rows = [self._measure("dense, as given", DENSE)]
        if baseline:
            self.progress.note("train the dense network for the same budget")
            models.save(self._trained(model, BASELINE_TRAINING), self.run_dir / BASELINE)
            rows.append(self._measure("dense, trained on", BASELINE))
        self.progress.note("train the compressed network")
        trained = self._trained(compressed, TRAINING)
        models.save(trained, self.run_dir / TRAINED)
        with self.progress.working(f"finalizing for {self.target.name}"):
            write(*finalize_report(trained, self.target), self.run_dir / DEPLOYABLE)
        names = " + ".join(step.name for step in recipe.passes)
        rows.append(self._measure(f"{names}, {self.target.name}", DEPLOYABLE))
        with files.atomic_path(self.run_dir / RESULTS) as temporary:
            temporary.write_text(to_json({"recipe": str(recipe), "rows": rows}) + "\n", encoding="utf-8")
        made = [row.file for row in rows] + [COMPRESSED, TRAINED]
        provenance.finish(self.run_dir, [self.run_dir / name for name in sorted(made)])
        return rows

    def checked(self, model: Model, recipe: Recipe, *, baseline: bool) -> Model:
        """A copy of ``model`` that knows its preprocessing.

        Raises:
            OnnxcompError: it, the data or the run directory would not do.
        """
        model = model.copy()
        ensure_preprocessing(model, self.data)
        if baseline or not learns_without_labels(recipe):
            self.data.require_labels("this training", "add --set distill.labels=false, without --baseline")
        where = str(self.run_dir)
        if model.form is not Form.INFERENCE:
            raise TrainingError(
                f"is in {model.form.value} form already",
                where=model.graph.name,
                fix="give the network before apply",
            )
        names = [entry.name for entry in self.run_dir.iterdir()] if self.run_dir.is_dir() else []
        used = any(not (name == lock.NAME or files.is_part(name)) for name in names)
        if used and not self.resume:
            raise TrainingError("is not empty", where=where, fix="add --resume or choose another --run-dir")
        training_batches(model, self.data, self.config)  # refuses what would fail only after apply
        return model

    def _applied(self, model: Model, recipe: Recipe) -> Model:
        """The compression form as the file holds it, so that a resumed run starts from the same."""
        path = self.run_dir / COMPRESSED
        if self.resume and path.exists():
            return self.found(model, recipe)
        made = self.apply(model, recipe)
        with self.progress.working("looking ahead"):  # what would fail only after the training fails now
            Plan.of(made, self.data, self.config, Alone())
            finalize_report(made, self.target)
        self._ingredients(model, recipe).write(self.run_dir)
        models.save(made, path)
        return models.load(path)

    def found(self, model: Model, recipe: Recipe) -> Model:
        """The compression form that is in the run directory already.

        Raises:
            TrainingError: it was made of something else than ``model`` and what this job says.
        """
        self._ingredients(model, recipe).check(self.run_dir)
        return models.load(self.run_dir / COMPRESSED)

    def _ingredients(self, model: Model, recipe: Recipe) -> Ingredients:
        return Ingredients.of(model, recipe, self.data, self.target, self.calibration_images)

    def apply(
        self,
        model: Model,
        recipe: Recipe,
        *,
        rehearse: bool = False,
        report: Callable[[pipeline.Step], None] = lambda step: None,
    ) -> Model:
        """The compression form of ``model``; for ``rehearse`` and ``report`` see the pipeline."""
        with self.bars() as show:
            asked = sources.from_data(
                model,
                self.data,
                images=self.calibration_images,
                threads=self.config.threads,
                show=show,
                cache=self.calibration_cache,
                warn=self.warn,
            )
            return pipeline.apply(
                model,
                recipe,
                calibration=asked.calibration,
                grams=asked.grams,
                gradients=asked.gradients,
                alignment=self.target.alignment,
                placement=self.target.placement,
                report=report,
                rehearse=rehearse,
            )

    def _trained(self, model: Model, name: str) -> Model:
        folder = self.run_dir / name
        resume = self.resume and folder.exists()
        trained = train(model, self.data, self.config, folder, resume=resume, progress=self.progress)
        RunDir(folder, resume=True).draw()
        return trained

    def _measure(self, name: str, file: str) -> Row:
        path = self.run_dir / file
        model = models.load(path)
        with self.progress.counting("test images", len(self.data.test)) as advance:
            found = evaluate(path, model, self.data.test, threads=self.config.threads, progress=advance)
        return Row(name, file, found)


def files_of(*, baseline: bool) -> list[str]:
    """Names of what a run directory holds in the end, beside the folders of its trainings."""
    networks = (DENSE, BASELINE, COMPRESSED, TRAINED, DEPLOYABLE)
    names = (RECIPE, *networks, RESULTS, ingredients.NAME, provenance.NAME)
    return [name for name in names if baseline or name != BASELINE]


def learns_without_labels(recipe: Recipe) -> bool:
    """Whether no loss of the recipe reads labels."""
    found = recipe.find("distill")
    return isinstance(found, Distill) and not found.labels


def table_rows(rows: list[Row]) -> list[tuple[str, ...]]:
    """Cells for :data:`COLUMNS`, one row a network."""
    return [
        (
            row.name,
            f"{row.evaluation.accuracy.top1:.2f} %",
            "-" if row.evaluation.accuracy.top5 is None else f"{row.evaluation.accuracy.top5:.2f} %",
            f"{row.evaluation.file.raw:,}",
            f"{row.evaluation.file.deflated:,}",
            f"{row.evaluation.parameters.total:,}",
            f"{row.evaluation.parameters.nonzero_int8:,}",
            "-" if row.evaluation.macs is None else f"{row.evaluation.macs:,}",
            *_latency(row.evaluation),
        )
        for row in rows
    ]


COLUMNS = (
    *("network", "top-1", "top-5", "bytes", "deflated"),
    *("parameters", "non-zero", "MACs", "median ms", "p99 ms"),
)
# What a narrow terminal leaves out, first named first.
OPTIONAL_COLUMNS = ("top-5", "p99 ms", "deflated", "parameters", "non-zero")


def _latency(evaluation: Evaluation) -> tuple[str, str]:
    latency = evaluation.latency
    return ("-", "-") if latency is None else (f"{latency.median:.3f}", f"{latency.p99:.3f}")
