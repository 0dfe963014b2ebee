"""``onnxcomp build``: a TensorRT engine of a deployable file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxcomp.commands import devices, dry, options

if TYPE_CHECKING:
    from onnxcomp.deploy.engines.record import Record
    from onnxcomp.deploy.engines.runtime import Runtime
    from onnxcomp.deploy.engines.source import Source
    from onnxcomp.deploy.engines.wish import Wish


@click.command("build")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
@options.output
@options.target
@devices.host
@devices.trtexec
@devices.batch
@devices.shapes
@click.option("--fp16/--no-fp16", default=True, show_default=True, help="For layers that are not INT8.")
@click.option("--tf32/--no-tf32", default=True, show_default=True, help="For float32 layers, from Ampere on.")
@click.option(
    "--sparse/--dense",
    default=None,
    help="Try kernels for 2:4 sparse weights; default: where the target has them.",
)
@click.option("--dla-core", type=click.IntRange(0, 3), help="Of a DLA target; default: 0.")
@click.option(
    "--workspace", type=click.IntRange(min=1), metavar="MIB", help="Most scratch memory of a layer."
)
@click.option(
    "--optimization-level", type=click.IntRange(0, 5), help="More is a longer search; TensorRT's own is 3."
)
@click.option("--lint/--no-lint", "check", default=True, show_default=True, help="Look for errors first.")
@devices.verbose
@dry.option
@options.as_json
def command(
    path: Path,
    output: Path,
    target: str,
    host: str | None,
    trtexec: str | None,
    batch: int | None,
    shapes: tuple[str, ...],
    fp16: bool,
    tf32: bool,
    sparse: bool | None,
    dla_core: int | None,
    workspace: int | None,
    optimization_level: int | None,
    check: bool,
    verbose: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Build a TensorRT engine of FILE, as finalize writes it for TARGET, on this machine or a device.

    An engine runs on the kind of GPU and the TensorRT version that built it. What was built before of the
    same file with the same options is taken from the machine's cache. OUTPUT.json says what the engine is of.

    \b
    Example:
      onnxcomp build d.onnx -o d.plan --target xavier --host user@jetson
    """
    from onnxcomp import files
    from onnxcomp.deploy.engines import fit
    from onnxcomp.deploy.engines import record as records
    from onnxcomp.deploy.engines.build import Request
    from onnxcomp.deploy.engines.source import read
    from onnxcomp.deploy.engines.wish import Wish
    from onnxcomp.errors import OnnxcompError
    from onnxcomp.outlook import Outlook
    from onnxcomp.report.console import to_json, working

    chosen = fit.tensorrt_target(target)
    if dla_core is not None and not chosen.dla:
        raise OnnxcompError(
            f"{target} is no DLA", where="--dla-core", fix="leave it out, or take a DLA target"
        )
    for place in (output, records.beside(output)):
        files.check_writable(place, keep=path)
    source = read(path, dla=chosen.dla)
    wish = Wish(
        batch=batch or 1,
        shapes=devices.read_shapes(shapes, batch),
        fp16=fp16,
        sparse=chosen.two_four is not None if sparse is None else sparse,
        tf32=tf32,
        dla_core=(dla_core or 0) if chosen.dla else None,
        workspace=workspace,
        optimization_level=optimization_level,
    )
    source.shapes(wish.batch, wish.shapes)
    if chosen.dla and source.calibration is None:
        options.warn(f"there is no calibration cache beside {path}: nothing will be in INT8")
    if check:
        with working(f"checking {path}"):
            fit.check_file(path, chosen, unchecked=", or build with --no-lint")
    with devices.tensorrt(host, trtexec) as runtime, devices.following(verbose=verbose) as on_line:
        fit.check_version(runtime, chosen)
        runtime.check(source, wish)
        if dry_run:
            outlook = Outlook(tuple(_outlook(source, wish, runtime)), (output, records.beside(output)))
            dry.tell(outlook, as_json=as_json)
            return
        record = Request(source, chosen.name, wish, runtime, options.warn, on_line).write(output)
    if as_json:
        click.echo(to_json({"output": str(output), "bytes": output.stat().st_size, "record": record}))
    else:
        for line in _lines(record, output):
            click.echo(line)


def _outlook(source: Source, wish: Wish, runtime: Runtime) -> list[str]:
    kinds = [name for name in ("fp16", "tf32", "sparse") if getattr(wish, name)]
    kinds += ["INT8"] if source.quantised or source.calibration else []
    shapes = source.shapes(wish.batch, wish.shapes)
    fixed = [f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items()]
    return [
        f"would build an engine of {source.path} ({len(source.data):,} bytes) with TensorRT {runtime.version}"
        f" for {runtime.gpu} on {runtime.machine.name}, or take it from the cache there",
        f"  allowed: {', '.join(kinds) or 'float32 alone'}",
        *(f"  input {text}" for text in fixed),
        *([f"  on DLA core {wish.dla_core}"] if wish.dla_core is not None else []),
    ]


def _lines(record: Record, output: Path) -> list[str]:
    lines = [f"{record.gpu}, TensorRT {record.tensorrt}"]
    if record.dequantised:
        lines.append(f"{len(record.dequantised)} Q and DQ nodes removed: {', '.join(record.dequantised)}")
    if record.eligible is not None:
        lines.append(
            f"2:4 sparse weights: {record.eligible} layers have them, {record.chosen or 0} run sparse"
        )
    lines += [f"note: {note}" for note in record.notes]
    took = "" if record.seconds is None else f", built in {record.seconds:.0f} s"
    return [*lines, f"wrote {output}: {output.stat().st_size:,} bytes{took}"]
