"""Options of the commands that run TensorRT, and how its log is shown."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from onnxcomp.errors import OnnxcompError

if TYPE_CHECKING:
    from onnxcomp.deploy.engines.runtime import Runtime

host = click.option(
    "--host",
    metavar="[USER@]HOST",
    help="Device with TensorRT, reached with your ssh; default: this machine.",
)
trtexec = click.option(
    "--trtexec",
    metavar="PATH",
    help="There; default: on the PATH, or /usr/src/tensorrt/bin/trtexec. On this machine TensorRT's Python"
    " package goes before it.",
)
verbose = click.option("--verbose", is_flag=True, help="Show TensorRT's log.")
shapes = click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="INPUT:1x3x224x224",
    help="Of an input with more free dimensions than the batch.",
)
batch = click.option(
    "--batch",
    type=click.IntRange(min=1),
    help="Images at once; the engine takes exactly so many; default: 1.",
)
SHAPE = re.compile(r"(?P<name>.+):(?P<sizes>[1-9]\d{0,8}(?:x[1-9]\d{0,8})*)")


@contextmanager
def tensorrt(host: str | None, trtexec: str | None) -> Iterator[Runtime]:
    """TensorRT on the device ``host``, or here.

    Raises:
        OnnxcompError: it is not there, or the device does not answer.
    """
    from onnxcomp.deploy.engines.by_python import ByPython
    from onnxcomp.deploy.engines.by_trtexec import ByTrtexec
    from onnxcomp.deploy.machine import DeviceError, LocalMachine

    if host is not None:
        from onnxcomp.deploy.remote import connect

        with connect(host, lambda line: click.echo(line, err=True)) as machine:
            yield ByTrtexec.find(machine, trtexec)
        return
    if trtexec is None and importlib.util.find_spec("tensorrt") is not None:
        yield ByPython.find()
        return
    try:
        found = ByTrtexec.find(LocalMachine(), trtexec)
    except DeviceError as error:
        if trtexec is not None:
            raise
        fix = "give --host user@jetson, or --trtexec PATH"
        raise OnnxcompError("TensorRT is not installed on this machine", fix=fix) from error
    yield found


def read_shapes(given: tuple[str, ...], batch: int | None = None) -> dict[str, tuple[int, ...]]:
    """``--shape`` by the input's name.

    Raises:
        OnnxcompError: one is not ``NAME:1x3x224x224``, or of another number of images than ``batch``.
    """
    found = {}
    for text in given:
        match = SHAPE.fullmatch(text)
        if match is None:
            raise OnnxcompError(f"{text!r} is no shape", where="--shape", fix="for example input:1x3x224x224")
        if match["name"] in found:
            raise OnnxcompError(
                f"{match['name']} is given twice", where="--shape", fix="give each input one shape"
            )
        sizes = found[match["name"]] = tuple(int(size) for size in match["sizes"].split("x"))
        if batch is not None and sizes[0] != batch:
            raise OnnxcompError(
                f"{text} is not for a batch of {batch}",
                where="--shape",
                fix="give the batch as its first size, and leave --batch out",
            )
    return found


@contextmanager
def following(*, verbose: bool) -> Iterator[Callable[[str], None]]:
    """Takes the lines of TensorRT's log: shows each, or how far it is."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from onnxcomp.deploy.trtexec.log import LogReader
    from onnxcomp.report.console import console

    if verbose:
        yield lambda line: click.echo(line, err=True)
        return
    out, reader = console(stderr=True), LogReader()
    stage = reader.stage
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as shown:
        task = shown.add_task("TensorRT starts", total=None)

        def take(line: str) -> None:
            nonlocal stage
            reader.read(line)
            if reader.stage > stage:
                stage = reader.stage
                shown.update(task, description=STAGES.get(stage.name, stage.name.lower()))
                if not out.is_terminal and stage.name in STAGES:
                    click.echo(STAGES[stage.name], err=True)

        yield take


STAGES = {
    "PARSING": "TensorRT reads the network",
    "CHOOSING": "TensorRT tries kernels for each layer",
    "ASSEMBLING": "TensorRT puts the engine together",
    "BUILT": "the engine is built",
    "LOADED": "the engine is loaded",
    "MEASURING": "the engine is measured",
}
