"""``onnxcomp finalize``: write the file that is deployed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from onnxcomp.commands import dry, options

if TYPE_CHECKING:
    from onnxcomp.deploy.finalize import Report
    from onnxcomp.deploy.targets import Target
    from onnxcomp.model import Model
    from onnxcomp.outlook import Outlook


@click.command("finalize")
@click.argument("model", type=click.Path(path_type=Path))
@options.output
@options.target
@dry.option
@options.as_json
def command(model: Path, output: Path, target: str, dry_run: bool, as_json: bool) -> None:
    """Write MODEL in the form that TARGET deploys.

    Masks are multiplied in, BatchNormalization is folded where legal, teacher and losses go, and
    Q/DQ and opset become what the target's runtime parses. For a DLA, which takes no Q/DQ, the scales go
    to a calibration cache beside OUTPUT, and the layers that stay FP16 to a .precisions.txt.

    \b
    Example:
      onnxcomp finalize t.onnx -o d.onnx --target xavier
    """
    from onnxcomp import model as models
    from onnxcomp.deploy.targets import get_target
    from onnxcomp.report.console import to_json, working
    from onnxcomp.report.size import stored_bytes

    chosen = get_target(target)
    finish = Finalizing(output, chosen, keep=model)
    if dry_run:
        with working(f"finalizing {model}"):
            outlook = finish.outlook(models.load(model))
        dry.tell(outlook, as_json=as_json)
        return
    with working(f"finalizing {model}"):
        written = finish(models.load(model))
    if as_json:
        click.echo(to_json({**written.table(), "size_before": stored_bytes(model)}))
    else:
        written.show(model)


@dataclass(frozen=True)
class Written:
    """A deployable file.

    Attributes:
        model: what it holds.
        target: what it is for.
        report: what :func:`onnxcomp.deploy.finalize.finalize_report` did.
        files: itself, and what the target wants beside it.
    """

    model: Model
    target: Target
    report: Report
    files: Sequence[Path]

    def table(self) -> dict[str, Any]:
        """For JSON."""
        from onnxcomp.report.size import stored_bytes

        output, *beside = self.files
        size = stored_bytes(output)
        return {
            "output": str(output),
            "beside": [*map(str, beside)],
            "report": self.report,
            "size_after": size,
        }

    def show(self, source: Path) -> None:
        """Print it.

        Args:
            source: the file it was made of.
        """
        from onnxcomp.report.console import console
        from onnxcomp.report.size import stored_bytes

        def echo(line: str) -> None:
            console().print(line, markup=False, soft_wrap=True)

        output, *beside = self.files
        for line in _lines(self.report, self.target):
            echo(line)
        echo(f"wrote {output}: {stored_bytes(source):,} -> {stored_bytes(output):,} bytes")
        if beside:
            echo(f"wrote {' and '.join(map(str, beside))}")
            names = (quote(str(path)) for path in self.files)
            echo(f"build: {_trtexec(self.model, self.report, *names)}")


@dataclass(frozen=True)
class Finalizing:
    """What finalises a network and writes it, once it is known that it can be written.

    Attributes:
        output: the file; with what belongs beside it.
        target: what it is for.
        keep: the file that it is made of, which must not be written over.

    Raises:
        OnnxcompError: one of the files cannot be written.
    """

    output: Path
    target: Target
    keep: Path

    def __post_init__(self) -> None:
        from onnxcomp import files

        for path in self._paths():
            files.check_writable(path, keep=self.keep)

    def __call__(self, model: Model) -> Written:
        """Finalise and write."""
        from onnxcomp.deploy.finalize import finalize_report
        from onnxcomp.deploy.write import write

        result, report = finalize_report(model, self.target)
        return Written(result, self.target, report, write(result, report, self.output))

    def outlook(self, model: Model) -> Outlook:
        """Finalise, and write nothing."""
        from onnxcomp.deploy.finalize import finalize_report
        from onnxcomp.outlook import Outlook

        _, report = finalize_report(model, self.target)
        first, *rest = _lines(report, self.target)
        return Outlook((f"would finalize {first}", *(f"  {line}" for line in rest)), tuple(self._paths()))

    def _paths(self) -> list[Path]:
        from onnxcomp.deploy.write import paths

        return paths(self.output, dla=self.target.dla)


def _trtexec(model: Model, report: Report, network: str, calibration: str, precisions: str) -> str:
    """How TensorRT makes an engine of the files (tools/qdq-translator/README.md of NVIDIA's DLA software)."""
    assert report.dla is not None
    words = ["trtexec", f"--onnx={network}", "--useDLACore=0", "--allowGPUFallback", "--fp16"]
    if model.batch is None:  # the DLA runs fixed shapes only
        words.append(f"--shapes={model.image.name}:{'x'.join(map(str, (1, *model.image_shape)))}")
    if report.dla.scales:
        words += ["--int8", f"--calib={calibration}"]
    if report.dla.scales and report.dla.fp16:
        words += ["--precisionConstraints=prefer", f'--layerPrecisions="$(cat {precisions})"']
    return " ".join(words)


def _lines(report: Report, target: Target) -> list[str]:
    folded, kept = report.folds.folded, report.folds.kept
    lines = [f"for {target.name}: {target.description}"]
    if report.nodes_removed:
        lines.append(f"removed {report.nodes_removed} nodes of teacher and losses")
    if report.masks:
        lines.append(f"multiplied {report.masks} masks in: {report.masked:,} weights are exactly 0")
        lines.append(f"  on this target {target.sparsity}")
    if report.channels:
        lines.append(f"removed {report.channels:,} channels that nobody reads")
    if folded or kept:
        lines.append(f"folded {len(folded)} of {len(folded) + len(kept)} BatchNormalization")
        reasons = Counter(reason for _, reason in kept)
        lines += [f"  kept {count}: {reason}" for reason, count in reasons.items()]
    if (report.quantized_weights or report.quantized_activations) and not target.dla:
        weights = "float32 weights before Q/DQ" if target.weights == "float" else "INT8 weights before DQ"
        lines.append(
            f"Q/DQ: {report.quantized_weights} weights ({weights}), "
            f"{report.quantized_activations} activations ({target.activations})"
        )
    lines += report.lines()
    if report.opset_before == report.opset_after:
        lines.append(f"opset {report.opset_after}")
    else:
        lines.append(f"opset {report.opset_before} -> {report.opset_after}")
    return lines
