"""A network's accuracy, size and latency in one value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onnxcomp.data import ImageSet
from onnxcomp.macs import total
from onnxcomp.model import Model
from onnxcomp.parity.accuracy import Accuracy, evaluate_accuracy
from onnxcomp.parity.latency import Latency, measure_latency
from onnxcomp.providers import Provider
from onnxcomp.report.inspection import byte_text, share
from onnxcomp.report.size import FileSize, Parameters, count_parameters, file_size
from onnxcomp.student import student


@dataclass(frozen=True)
class Evaluation:
    """What ``onnxcomp evaluate`` measures.

    Attributes:
        accuracy: on the images given.
        file: bytes of the file.
        parameters: of the student.
        macs: multiply-accumulates of the student for one image, zeros counted as work; None where a shape
            is unknown.
        latency: on this machine; None where it was not asked for.
    """

    accuracy: Accuracy
    file: FileSize
    parameters: Parameters
    macs: int | None
    latency: Latency | None


def evaluate(
    path: Path,
    model: Model,
    image_set: ImageSet,
    *,
    threads: int,
    batch_size: int = 100,
    latency_runs: int | None = None,
    provider: Provider = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Measure ``model``, read from ``path``.

    Args:
        latency_runs: None for at least 100 and at least 2 seconds, 0 for no timing.
        provider: of ONNX Runtime.

    Raises:
        ModelError: as :func:`evaluate_accuracy`.
        DataError: as :func:`evaluate_accuracy`.
    """
    return Evaluation(
        accuracy=evaluate_accuracy(
            model,
            image_set,
            threads=threads,
            batch_size=batch_size,
            provider=provider,
            progress=progress,
        ),
        file=file_size(path),
        parameters=count_parameters(model),
        macs=total(student(model).graph),
        latency=None
        if latency_runs == 0
        else measure_latency(model, threads=threads, runs=latency_runs, provider=provider),
    )


def evaluation_rows(found: Evaluation) -> list[tuple[str, str]]:
    """The measurements as pairs of name and text, for a table."""
    accuracy, parameters, latency = found.accuracy, found.parameters, found.latency
    rows = [("top-1", f"{accuracy.top1:.2f} %")]
    if accuracy.top5 is not None:
        rows.append(("top-5", f"{accuracy.top5:.2f} %"))
    rows += [
        ("images", f"{accuracy.count:,}"),
        ("file size", byte_text(found.file.raw)),
        ("deflated", byte_text(found.file.deflated)),
        ("parameters", f"{parameters.total:,}"),
        ("non-zero", share(parameters.nonzero, parameters.total)),
    ]
    if parameters.nonzero_int8 != parameters.nonzero:
        rows.append(("non-zero in INT8", share(parameters.nonzero_int8, parameters.total)))
    if found.macs is not None:
        rows.append(("MACs per image", f"{found.macs:,}"))
    if latency is not None:
        where = f"batch {latency.batch}, {latency.provider.upper()}"
        if latency.provider == "cpu":
            where += f", {latency.threads} thread{'s'[: latency.threads > 1]}"
        rows += [
            (f"latency median ({where})", f"{latency.median:.3f} ms"),
            (f"latency p99 ({latency.runs} runs)", f"{latency.p99:.3f} ms"),
        ]
    return rows
