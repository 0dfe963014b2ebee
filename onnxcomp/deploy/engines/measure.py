"""Measure an engine on a machine: how long it takes, layer by layer."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path

import onnx

from onnxcomp.deploy.board import read_board
from onnxcomp.deploy.engines.build import ENGINES
from onnxcomp.deploy.engines.clocks import read_clocks
from onnxcomp.deploy.engines.record import Record
from onnxcomp.deploy.engines.runtime import FailedError, Measured, OnLine, Running, Runtime
from onnxcomp.deploy.machine import Machine
from onnxcomp.deploy.profile.nodes import names
from onnxcomp.deploy.profile.profile import Conditions, Profile
from onnxcomp.deploy.profile.reading import read
from onnxcomp.deploy.trtexec.exports.layer_times import read_layer_times
from onnxcomp.deploy.trtexec.exports.layers import read_layers
from onnxcomp.deploy.trtexec.exports.runs import read_runs
from onnxcomp.deploy.trtexec.exports.tolerant import FIX, ExportError
from onnxcomp.deploy.trtexec.failures import failure_error
from onnxcomp.errors import OnnxcompError


def measure(
    engine: Path,
    record: Record | None,
    runtime: Runtime,
    running: Running,
    on_line: OnLine,
    network: onnx.ModelProto | None = None,
) -> Profile:
    """A profile of the engine in a file here, measured on the machine of ``runtime``.

    Args:
        record: what the engine is of, where that is known.
        network: the ONNX file, to find its nodes in the engine's layers.

    Raises:
        OnnxcompError: it does not run there; says why.
    """
    machine = runtime.machine
    before, board = read_clocks(machine), read_board(machine)
    there = _there(engine, record, machine)
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = runtime.measure(there, running, Path(folder), on_line)
        except FailedError as failed:
            raise failure_error(failed.failure, f"{machine.name}: {engine}") from failed
        conditions = Conditions(
            engine=str(engine),
            onnx=record.onnx if record else "",
            machine=machine.name,
            gpu=found.log.gpu or runtime.gpu,
            tensorrt=str(runtime.version),
            power=before.power,
            clocks=before.clocks,
            batch=_batch(running),
            notes=(*board.notes, *(notice.text for notice in found.log.notices)),
        )
        try:
            return _read(found, running, conditions, network)
        except ExportError as error:
            what = f"{Path(error.where).name} {error.what}"  # there no more when this is read
            raise ExportError(what, where=f"{machine.name}: {engine}", fix=FIX) from error


def _read(
    found: Measured, running: Running, conditions: Conditions, network: onnx.ModelProto | None
) -> Profile:
    return read(
        found.log.summary,
        read_layer_times(found.profile),
        read_layers(found.layers),
        read_runs(found.times, running.warm_up),
        names(network) if network is not None else None,
        conditions,
    )


def _batch(running: Running) -> int | None:
    first = next(iter(running.shapes.values()), None)
    return int(first[0]) if first else None


def _there(engine: Path, record: Record | None, machine: Machine) -> str:
    """Where the engine is on the machine: still in the cache of builds, or copied."""
    if record is not None and record.key:
        path = f"{machine.cache(ENGINES)}/{record.key}.plan"
        done = machine.run(["sha256sum", path])
        if done.code == 0 and done.out.split()[:1] == [record.sha256]:
            return path
    return machine.put(engine, "engine.plan")


def running_of(record: Record | None, running: Running) -> Running:
    """``running`` with the shapes and the DLA that the engine was built for, where they are not given.

    Raises:
        OnnxcompError: shapes are given that the engine does not take.
    """
    if record is None:
        return running
    built = {name: tuple(shape) for name, shape in record.shapes.items()}
    if not running.shapes.items() <= built.items():
        taken = " ".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in built.items())
        fix = "leave it out, or build an engine of other shapes"
        raise OnnxcompError(
            f"the engine takes exactly {taken or 'the shapes in its file'}", where="--shape", fix=fix
        )
    core = record.options.get("dla_core") if running.dla_core is None else running.dla_core
    return dataclasses.replace(running, shapes=built, dla_core=core)
