"""trtexec's log: how far it is, line by line, and at the end what it measured.

The summary is that of ``printEpilog`` in samples/common/sampleReporting.cpp of NVIDIA/TensorRT, and of a
log of 8.5.2 on an AGX Xavier (OE4T/meta-tegra#1150). The stages are in the logs of 10.16 and 11.0 in
cookbook/07-Tool/trtexec of NVIDIA/trt-samples-for-hackathon-cn. Both spellings of the lines about sparsity
are in "Structured Sparsity" of NVIDIA's guide, 8.5 and 10. Any text gives a result: what is missing or
damaged is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from onnxcomp.deploy.trtexec.notices import Notice, NoticeReader
from onnxcomp.deploy.trtexec.version import Version, find_version

PREFIX = re.compile(r"^(?:\[[^\]]{0,40}\] )?\[[VIWEF]\] (?:\[TRT\] )?")
NUMBER = r"(-?\d+(?:\.\d+)?(?:e[-+]?\d{1,3})?)"
THROUGHPUT = re.compile(rf"Throughput: {NUMBER} qps")
COLUMNS = re.compile(r"(Latency|Enqueue Time|H2D Latency|GPU Compute Time|D2H Latency): min = ")
COLUMN = re.compile(rf"(min|max|mean|median|percentile\((\d{{1,3}}(?:\.\d{{1,9}})?)%\)) = {NUMBER} ms")
SECONDS = re.compile(rf"(Total Host Walltime|Total GPU Compute Time): {NUMBER} s")
BUILT = re.compile(rf"Engine built in {NUMBER} sec")
CAPABILITY = re.compile(r"Compute Capability: (\d{1,3})\.(\d{1,3})")
SPARSE = re.compile(
    r"\(Sparsity\) (Found|Chose|Layers eligible|TRT inference plan picked)"
    r"(?: (\d{1,9}) layer\(s\)[^:]*|[^:]*)(?:: ?(.*))?$"
)


class Stage(IntEnum):
    """How far a run of trtexec is; a later one is greater."""

    STARTED = 0
    PARSING = 1
    CHOOSING = 2
    """Kernels are timed: nearly all of a build."""
    ASSEMBLING = 3
    BUILT = 4
    LOADED = 5
    MEASURING = 6
    MEASURED = 7
    ENDED = 8


STAGES = (
    ("Start parsing network model", Stage.PARSING),
    ("Finish parsing network model", Stage.CHOOSING),
    ("Finished parsing network model", Stage.CHOOSING),
    ("Total Host Persistent Memory", Stage.ASSEMBLING),
    ("Engine built in", Stage.BUILT),
    ("Engine deserialized in", Stage.LOADED),
    ("Starting inference", Stage.MEASURING),
    ("=== Performance summary ===", Stage.MEASURED),
    ("&&&& PASSED", Stage.ENDED),
)


@dataclass(frozen=True)
class Times:
    """Of many runs, in milliseconds; None where the line was damaged.

    Attributes:
        percentiles: pairs of per cent and milliseconds, as trtexec printed them.
    """

    min: float | None = None
    max: float | None = None
    mean: float | None = None
    median: float | None = None
    percentiles: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Summary:
    """trtexec's "Performance summary".

    Attributes:
        throughput: queries a second; with a batch of N a query is N images.
        latency: from the start of the copy in to the end of the copy out.
        enqueue: what the CPU needs to launch.
        h2d: the copy in; 0 where the inputs were not copied.
        gpu: the computing alone.
        d2h: the copy out.
        walltime: seconds that the measurement took.
        gpu_total: seconds of it that the GPU computed.
    """

    throughput: float | None = None
    latency: Times | None = None
    enqueue: Times | None = None
    h2d: Times | None = None
    gpu: Times | None = None
    d2h: Times | None = None
    walltime: float | None = None
    gpu_total: float | None = None


@dataclass(frozen=True)
class Sparsity:
    """What the builder said of 2:4 sparse weights.

    Attributes:
        eligible: layers whose weights have the pattern.
        chosen: layers that got a sparse kernel, because it was faster.
        eligible_layers: their names, where the log gives them (10.x does with ``--verbose``).
        chosen_layers: likewise.
    """

    eligible: int = 0
    chosen: int = 0
    eligible_layers: tuple[str, ...] = ()
    chosen_layers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Log:
    """All that is read from a log.

    Attributes:
        passed: trtexec's last word; None where it did not come to it.
        gpu: name of the device, "" where it is not said.
        build_seconds: that building took.
        summary: None where trtexec printed none.
        sparsity: None where the builder said nothing of it.
    """

    version: Version | None = None
    gpu: str = ""
    capability: tuple[int, int] | None = None
    stage: Stage = Stage.STARTED
    passed: bool | None = None
    build_seconds: float | None = None
    summary: Summary | None = None
    sparsity: Sparsity | None = None
    notices: tuple[Notice, ...] = ()


FIELDS = {
    "Latency": "latency",
    "Enqueue Time": "enqueue",
    "H2D Latency": "h2d",
    "GPU Compute Time": "gpu",
    "D2H Latency": "d2h",
    "Total Host Walltime": "walltime",
    "Total GPU Compute Time": "gpu_total",
}


class LogReader:
    """Reads a log as it comes.

    Attributes:
        stage: the furthest that the log has come to; ENDED only where it passed.
    """

    def __init__(self) -> None:
        self.stage = Stage.STARTED
        self._found: dict[str, object] = {}
        self._summary: dict[str, object] = {}
        self._sparsity: dict[str, object] = {}
        self._notices = NoticeReader()

    def read(self, line: str) -> None:
        """Take the next line, without its line feed or with it."""
        text = PREFIX.sub("", line.strip())
        self.stage = max([self.stage, *(stage for start, stage in STAGES if text.startswith(start))])
        if text.startswith("&&&& "):
            self._read_banner(text)
        elif text.startswith("(Sparsity)"):
            self._read_sparsity(text)
        else:
            self._read_device(text)
            self._read_summary(text)
        self._notices.read(text)

    def result(self) -> Log:
        """What the lines so far say."""
        summary = Summary(**self._summary) if self._summary else None  # type: ignore[arg-type]
        sparsity = Sparsity(**self._sparsity) if self._sparsity else None  # type: ignore[arg-type]
        found: dict[str, object] = {**self._found, "summary": summary, "sparsity": sparsity}
        return Log(stage=self.stage, notices=self._notices.notices, **found)  # type: ignore[arg-type]

    def _read_banner(self, text: str) -> None:
        self._found.setdefault("version", find_version(text))
        if text.startswith(("&&&& PASSED", "&&&& FAILED")):
            self._found["passed"] = text.startswith("&&&& PASSED")

    def _read_device(self, text: str) -> None:
        if text.startswith("Selected Device: "):
            self._found["gpu"] = text.partition(": ")[2]
        elif found := CAPABILITY.match(text):
            self._found["capability"] = (int(found[1]), int(found[2]))
        elif found := BUILT.match(text):
            self._found["build_seconds"] = float(found[1])

    def _read_summary(self, text: str) -> None:
        if found := THROUGHPUT.match(text):
            self._summary["throughput"] = float(found[1])
        elif found := COLUMNS.match(text):
            self._summary[FIELDS[found[1]]] = read_times(text)
        elif found := SECONDS.match(text):
            self._summary[FIELDS[found[1]]] = float(found[2])

    def _read_sparsity(self, text: str) -> None:
        found = SPARSE.match(text)
        if found is None:
            return
        key = "eligible" if found[1] in ("Found", "Layers eligible") else "chosen"
        names = split_names(found[3] or "")
        self._sparsity[key] = int(found[2]) if found[2] else len(names)
        self._sparsity[f"{key}_layers"] = names


def read_log(lines: str | Iterable[str]) -> Log:
    """A whole log."""
    reader = LogReader()
    for line in lines.splitlines() if isinstance(lines, str) else lines:
        reader.read(line)
    return reader.result()


def read_times(text: str) -> Times:
    """``min = 1 ms, max = 2 ms, mean = 1 ms, median = 1 ms, percentile(99%) = 2 ms``, or what is there."""
    known: dict[str, float] = {}
    percentiles = []
    for name, percent, value in COLUMN.findall(text):
        if percent:
            percentiles.append((float(percent), float(value)))
        else:
            known[name] = float(value)
    return Times(**known, percentiles=tuple(percentiles))


def split_names(text: str) -> tuple[str, ...]:
    """Names between commas; a comma within brackets belongs to a fused layer, ``PWN(Sigmoid_1, Mul_2)``."""
    names, depth, start = [], 0, 0
    for at, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth <= 0:
            names.append(text[start:at])
            start, depth = at + 1, 0
    return tuple(name for each in [*names, text[start:]] if (name := each.strip()))
