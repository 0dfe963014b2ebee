"""``onnxcomp finalize``: write the file that is deployed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from onnxcomp.commands import options

if TYPE_CHECKING:
    from onnxcomp.deploy.finalize import Report
    from onnxcomp.deploy.targets import Target
    from onnxcomp.model import Model


@click.command("finalize")
@click.argument("model", type=click.Path(path_type=Path))
@options.output
@options.target
@options.as_json
def command(model: Path, output: Path, target: str, as_json: bool) -> None:
    """Write MODEL in the form that TARGET deploys.

    Masks are multiplied in, BatchNormalization is folded where legal, teacher and losses go, and
    Q/DQ and opset become what the target's runtime parses. For a DLA, which takes no Q/DQ, the scales go
    to a calibration cache beside OUTPUT, and the layers that stay FP16 to a .precisions.txt.

    \b
    Example:
      onnxcomp finalize t.onnx -o d.onnx --target xavier
    """
    from onnxcomp import files
    from onnxcomp import model as models
    from onnxcomp.deploy.finalize import finalize_report
    from onnxcomp.deploy.targets import get_target
    from onnxcomp.deploy.write import paths, write
    from onnxcomp.report.console import console, to_json
    from onnxcomp.report.size import file_size

    chosen = get_target(target)
    for path in paths(output, dla=chosen.dla):
        files.check_writable(path, keep=model)
    result, report = finalize_report(models.load(model), chosen)
    output, *beside = write(result, report, output)
    before, after = file_size(model), file_size(output)
    if as_json:
        sizes = {"size_before": before, "size_after": after}
        click.echo(to_json({"output": str(output), "beside": [*map(str, beside)], "report": report, **sizes}))
        return
    for line in _lines(report, chosen):
        console().print(line, markup=False, soft_wrap=True)
    sizes_text = f"{before.raw:,} -> {after.raw:,} bytes, deflated {before.deflated:,} -> {after.deflated:,}"
    console().print(f"wrote {output}: {sizes_text}", markup=False, soft_wrap=True)
    if beside:
        console().print(f"wrote {' and '.join(map(str, beside))}", markup=False, soft_wrap=True)
        build = _trtexec(result, report, *(quote(str(path)) for path in (output, *beside)))
        console().print(f"build: {build}", markup=False, soft_wrap=True)


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
