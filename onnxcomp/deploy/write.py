"""Write a deployable network with the files that its target wants beside it: all of them or none."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from onnxcomp import files
from onnxcomp import model as models
from onnxcomp.deploy.finalize import Report
from onnxcomp.errors import OnnxcompError
from onnxcomp.model import Model

CALIBRATION, PRECISIONS = ".calib", ".precisions.txt"


def paths(output: Path, *, dla: bool) -> list[Path]:
    """The files that belong to the network in ``output``, itself first.

    Raises:
        OnnxcompError: one beside it would have its name.
    """
    beside = [output.with_suffix(suffix) for suffix in (CALIBRATION, PRECISIONS)] if dla else []
    if output in beside:
        raise OnnxcompError("is the name of a file beside it", where=str(output), fix="name it .onnx")
    return [output, *beside]


def write(model: Model, report: Report, output: Path) -> list[Path]:
    """Write what :func:`onnxcomp.deploy.finalize.finalize_report` gave; returns the files.

    Nothing gets its name before the content of all is on the disk; the network gets its last.

    Raises:
        OnnxcompError: one of them cannot be written.
    """
    contents = [models.to_proto(model).SerializeToString()]
    if report.dla:
        contents += [report.dla.calibration.encode(), report.dla.precisions.encode()]
    targets = paths(output, dla=report.dla is not None)
    for path in targets:
        files.check_writable(path)
    with ExitStack() as stack:
        for path, content in zip(targets, contents, strict=True):
            stack.enter_context(files.atomic_path(path)).write_bytes(content)
    return targets
