"""``onnxcomp profile``: how long an engine takes, layer by layer, and what two profiles differ in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from onnxcomp.commands import devices, options

if TYPE_CHECKING:
    import onnx

    from onnxcomp.deploy.engines.record import Record
    from onnxcomp.deploy.profile.profile import Profile


@click.command("profile")
@click.argument("paths", metavar="ENGINE", nargs=-1, required=True, type=click.Path(path_type=Path))
@devices.host
@devices.trtexec
@click.option(
    "--model",
    type=click.Path(path_type=Path),
    help="The ONNX file that ENGINE was built of; default: the one that ENGINE.json names.",
)
@devices.shapes
@click.option(
    "--warm-up", type=click.IntRange(min=0), default=500, show_default=True, metavar="MS", help="Not counted."
)
@click.option(
    "--duration", type=click.IntRange(min=1), default=10, show_default=True, metavar="S", help="Measured."
)
@click.option(
    "--layers", type=click.IntRange(min=0), default=20, show_default=True, help="To show; 0 for all."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Keep the profile, as JSON.")
@click.option("--compare", is_flag=True, help="ENGINE are two profiles that were kept: what changed?")
@devices.verbose
@options.as_json
def command(
    paths: tuple[Path, ...],
    host: str | None,
    trtexec: str | None,
    model: Path | None,
    shapes: tuple[str, ...],
    warm_up: int,
    duration: int,
    layers: int,
    output: Path | None,
    compare: bool,
    verbose: bool,
    as_json: bool,
) -> None:
    """Measure ENGINE, which build wrote, on this machine or a device.

    Throughput, latency and the time of each layer with its share, precision, kernel and ONNX nodes; how much
    of the time is INT8, what reformats cost. Power mode and clocks are read and shown; nothing is set.

    \b
    Example:
      onnxcomp profile d.plan --host user@jetson -o int8.json
      onnxcomp profile --compare float.json int8.json
    """
    from onnxcomp import files
    from onnxcomp.deploy.engines import record as records
    from onnxcomp.report.console import to_json

    if compare:
        if host or trtexec or model or shapes or output:
            raise click.UsageError("--compare only reads two profiles: leave out what is for measuring")
        _compare(paths, layers, as_json=as_json)
        return
    if len(paths) != 1:
        raise click.UsageError("one ENGINE is expected, or two profiles with --compare")
    if output is not None:
        for kept in (paths[0], records.beside(paths[0]), *([] if model is None else [model])):
            files.check_writable(output, keep=kept)
    found = _measure(paths[0], host, trtexec, model, shapes, warm_up, duration, verbose=verbose)
    if output is not None:
        found.save(output)
    if as_json:
        click.echo(to_json(found))
        return
    _show(found, layers)
    if output is not None:
        click.echo(f"wrote {output}")


def _measure(
    engine: Path,
    host: str | None,
    trtexec: str | None,
    model: Path | None,
    shapes: tuple[str, ...],
    warm_up: int,
    duration: int,
    *,
    verbose: bool,
) -> Profile:
    from onnxcomp.deploy.engines import record as records
    from onnxcomp.deploy.engines.measure import measure, running_of
    from onnxcomp.deploy.engines.runtime import Running
    from onnxcomp.errors import OnnxcompError
    from onnxcomp.nearest import meant_path

    if not engine.is_file():
        fix = meant_path(engine, "build it with onnxcomp build")
        raise OnnxcompError("there is no such engine", where=str(engine), fix=fix)
    record = records.find(engine)
    network = _network(model, record)
    running = running_of(record, Running(devices.read_shapes(shapes), warm_up=warm_up, duration=duration))
    with devices.tensorrt(host, trtexec) as runtime, devices.following(verbose=verbose) as on_line:
        _check_version(record, str(runtime.version), str(engine))
        return measure(engine, record, runtime, running, on_line, network)


def _network(model: Path | None, record: Record | None) -> onnx.ModelProto | None:
    """The file that the engine was built of; the one in the record only where it is the same still.

    Raises:
        ModelError: ``model`` is no ONNX file.
    """
    from onnxcomp.deploy.engines.source import read
    from onnxcomp.errors import ModelError

    if model is not None:
        return read(model).proto
    if record is None:
        return None
    try:
        source = read(Path(record.onnx), dla=record.options.get("dla_core") is not None)
    except ModelError:
        return None  # moved: layers are shown by their own names, and a note says so
    return source.proto if source.digest == record.digest else None


def _check_version(record: Record | None, version: str, engine: str) -> None:
    """Raises:
    OnnxcompError: the engine was built by another version.
    """
    from onnxcomp.errors import OnnxcompError

    if record is not None and record.tensorrt != version:
        raise OnnxcompError(
            f"was built by TensorRT {record.tensorrt}, and there is {version}",
            where=engine,
            fix="build it where it is to run",
        )


def _show(found: Profile, count: int) -> None:
    from onnxcomp.deploy.profile import rows
    from onnxcomp.report.console import table

    for line in [rows.title(found), *rows.times(found)]:
        click.echo(line)
    cells = rows.rows(found.layers)
    shown = cells[:count] if count else cells
    left = f" (the {count} slowest of {len(cells)}; --layers 0 shows all)" if len(shown) < len(cells) else ""
    table(f"layers{left}", rows.COLUMNS, shown, optional=rows.OPTIONAL)
    for line in rows.coverage(found):
        click.echo(line)


def _compare(paths: tuple[Path, ...], count: int, *, as_json: bool) -> None:
    from onnxcomp.deploy.profile import rows
    from onnxcomp.deploy.profile.compare import compare
    from onnxcomp.deploy.profile.profile import Profile
    from onnxcomp.report.console import table, to_json

    if len(paths) != 2:
        raise click.UsageError("--compare takes two profiles, before and after")
    found = compare(*(Profile.load(path) for path in paths))
    if as_json:
        click.echo(to_json(found))
        return
    cells = rows.changes(found)
    table(
        f"{paths[0]} to {paths[1]}",
        rows.CHANGES,
        cells[:count] if count else cells,
        optional=rows.CHANGES_OPTIONAL,
    )
    for line in rows.differences(found):
        click.echo(line)
