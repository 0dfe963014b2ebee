"""Build an engine, or take the one that was built of the same before."""

from __future__ import annotations

import dataclasses
import re
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_graphsurgeon as gs

from onnxcomp import __version__, files, kept
from onnxcomp.deploy.engines import record as records
from onnxcomp.deploy.engines.record import Record
from onnxcomp.deploy.engines.runtime import FailedError, OnLine, Runtime
from onnxcomp.deploy.engines.source import Source
from onnxcomp.deploy.engines.wish import Wish
from onnxcomp.deploy.fallback import PAIR, dequantize_around
from onnxcomp.deploy.lint.network import quiet
from onnxcomp.deploy.profile.nodes import held, parsed_name
from onnxcomp.deploy.profile.nodes import names as names_in
from onnxcomp.deploy.trtexec.exports.layers import LayerInfo
from onnxcomp.deploy.trtexec.failures import Failure, Kind, failure_error
from onnxcomp.deploy.trtexec.log import Log
from onnxcomp.errors import OnnxcompError

ENGINES, TIMING = "engines", "timing"
MOVE = 'mv -f "$1" "$2.part" && mv -f "$2.part" "$2" || { [ ! -e "$1" ] && [ -s "$2" ]; }'
"""Perhaps from one disk to another. Done twice, because an answer was lost, it is right too."""


@dataclass(frozen=True)
class Request:
    """One build.

    Attributes:
        source: what is built.
        target: name of the target it was finalized for, "" where that is not known.
        wish: how.
        runtime: by what.
        tell: given a line that the user should see.
        on_line: given each line of TensorRT's log.
    """

    source: Source
    target: str
    wish: Wish
    runtime: Runtime
    tell: Callable[[str], None]
    on_line: OnLine

    def write(self, output: Path) -> Record:
        """The engine in ``output``, and its record beside it: both or none.

        Raises:
            OnnxcompError: it cannot be built or written; says why.
        """
        for path in (output, records.beside(output)):
            files.check_writable(path, keep=self.source.path)
        machine = self.runtime.machine
        record = self.made()
        with ExitStack() as stack:
            engine, text = (
                stack.enter_context(files.atomic_path(path)) for path in (output, records.beside(output))
            )
            machine.get(self._path(".plan"), engine)
            record = dataclasses.replace(record, sha256=files.sha256(engine))
            text.write_text(record.text, encoding="utf-8")
        return record

    def made(self) -> Record:
        """The record of the engine that is on the machine now.

        Raises:
            OnnxcompError: it cannot be built; says why.
        """
        machine = self.runtime.machine
        known = machine.run(["cat", self._path(".json")])
        if known.code == 0 and machine.run(["test", "-s", self._path(".plan")]).code == 0:
            with suppress(OnnxcompError):  # a damaged one is written anew, with its engine
                found = records.parse(known.out, f"{machine.name}: {self._path('.json')}")
                self.tell(f"built before: {self._path('.plan')} on {machine.name}")
                return found
        record = self._built()
        with tempfile.TemporaryDirectory() as here:
            path = Path(here, "record.json")
            path.write_text(record.text, encoding="utf-8")
            machine.send(path, self._path(".json"))
        return record

    @property
    def engine(self) -> str:
        """Path of the engine on the machine, once it is :meth:`made`."""
        return self._path(".plan")

    @property
    def key(self) -> str:
        """Of the network, the TensorRT, the GPU, the options, and the onnxcomp that words them."""
        runtime = self.runtime
        facts = [
            self.source.digest,
            str(runtime.version),
            runtime.gpu,
            dataclasses.asdict(self.wish),
            __version__,
        ]
        return kept.digest(facts)[:32]

    def _path(self, suffix: str) -> str:
        return f"{self.runtime.machine.cache(ENGINES)}/{self.key}{suffix}"

    def _built(self) -> Record:
        removed: tuple[str, ...] = ()
        source, machine = self.source, self.runtime.machine
        with tempfile.TemporaryDirectory() as here:
            while True:
                path = Path(here, "model.onnx")
                path.write_bytes(source.data)
                try:
                    log = self._attempt(path, source)
                    break
                except FailedError as failed:
                    less = without_pairs(source, failed.failure)
                    if less is None:
                        raise failure_error(failed.failure, machine.name) from failed
                    source, gone = less
                    removed += gone
                    kernel = f"there is no INT8 kernel for {failed.failure.subject}"
                    self.tell(f"{kernel}: {len(gone)} Q and DQ nodes around it are removed; building again")
        return self._record(log, removed)

    def _attempt(self, onnx_path: Path, source: Source) -> Log:
        machine, engine = self.runtime.machine, self._path(".plan")
        timing = f"{machine.cache(TIMING)}/{self._timing()}"
        with machine.workspace() as folder:
            made = f"{folder}/engine.plan"
            log = self.runtime.build(onnx_path, source, self.wish, made, timing, self.on_line)
            done = machine.run(["sh", "-c", MOVE, "sh", made, engine])
        if done.code != 0:
            raise failure_error(Failure(Kind.DISK, done.err), machine.name)
        return log

    def _timing(self) -> str:
        gpu = re.sub(r"[^A-Za-z0-9]+", "-", self.runtime.gpu).strip("-") or "gpu"
        return f"{self.runtime.version}-{gpu}.cache"

    def _record(self, log: Log, removed: tuple[str, ...]) -> Record:
        options = {key: value for key, value in dataclasses.asdict(self.wish).items() if key != "shapes"}
        shapes = self.source.shapes(self.wish.batch, self.wish.shapes)
        sparsity = log.sparsity
        return Record(
            onnx=str(self.source.path),
            digest=self.source.digest,
            key=self.key,
            target=self.target,
            tensorrt=str(self.runtime.version),
            gpu=log.gpu or self.runtime.gpu,
            shapes={name: [*shape] for name, shape in shapes.items()},
            options=options,
            dequantised=removed,
            eligible=None if sparsity is None else sparsity.eligible,
            chosen=None if sparsity is None else sparsity.chosen,
            seconds=log.build_seconds,
            notes=tuple(notice.text for notice in log.notices),
        )


def without_pairs(source: Source, failure: Failure) -> tuple[Source, tuple[str, ...]] | None:
    """``source`` without the Q/DQ around the nodes that there is no kernel for, and which are gone.

    First those that the nodes read through; where these are gone already, those behind them.

    Returns:
        None where the failure is another (also where memory was short just before: then a kernel may only not
        have fitted), or there is no Q/DQ to remove.
    """
    if failure.kind is not Kind.NO_IMPLEMENTATION or failure.short_of_memory:
        return None
    with quiet():
        graph = gs.import_onnx(source.proto)
    for node in graph.nodes:
        node.name = node.name or parsed_name(node.name, node.outputs[0].name)
    names = held(LayerInfo(failure.subject), names_in(source.proto)).nodes
    removed = dequantize_around(graph, names) or dequantize_around(graph, names, outputs=True)
    if not removed:
        return None
    with quiet():
        proto: onnx.ModelProto = gs.export_onnx(graph, do_type_check=False)
    proto.ir_version = source.proto.ir_version
    quantised = any(node.op in PAIR for node in graph.nodes)
    return dataclasses.replace(source, proto=proto, quantised=quantised), removed
