"""Why a run of trtexec failed, from its log and its exit code, and what can be done.

The messages are those of published logs. No implementation: TRT#3545 on a Xavier, TRT#3385, TRT#2647, where
TRT#N is an issue of NVIDIA/TensorRT. The parser: OpenPPL/ppq#346, and ModelImporter.cpp of
onnx/onnx-tensorrt. Memory: marcoslucianops/DeepStream-Yolo#366. Engines of another version: TRT#2041,
TRT#2983; of another GPU: "Error Messaging" of NVIDIA's guide; no engines at all: TRT#1596. Options and
files: sampleOptions.cpp, sampleEngines.cpp and sampleUtils.h in samples/common of NVIDIA/TensorRT, and its
trtexec.cpp. Any text and any code give a result.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from onnxcomp.deploy.trtexec.log import PREFIX
from onnxcomp.errors import OnnxcompError


class TrtexecError(OnnxcompError):
    """trtexec failed; says why, with the node or the file, and the remedy."""


class Kind(str, Enum):
    """What went wrong. The order is that in which they are looked for: the first explains those after it."""

    NO_LIBRARY = "no-library"
    NO_GPU = "no-gpu"
    OPTION = "option"
    OTHER_VERSION = "other-version"
    OTHER_GPU = "other-gpu"
    NO_ENGINE = "no-engine"
    BAD_ENGINE = "bad-engine"
    PARSE = "parse"
    BAD_MODEL = "bad-model"
    CALIBRATION = "calibration"
    WORKSPACE = "workspace"
    NO_IMPLEMENTATION = "no-implementation"
    GPU_MEMORY = "gpu-memory"
    HOST_MEMORY = "host-memory"
    DISK = "disk"
    INPUT = "input"
    KILLED = "killed"
    STOPPED = "stopped"
    CRASHED = "crashed"
    OTHER = "other"


@dataclass(frozen=True)
class Failure:
    """Why it failed.

    Attributes:
        line: the line of the log that says so, without time and severity; "" where the log says nothing.
        subject: the node, option or file that it is about; a fused layer's name for no implementation.
        detail: what else the log says of it.
        short_of_memory: shortly before, kernels had been passed over for lack of memory. A missing
            implementation may then be a kernel that did not fit.
    """

    kind: Kind
    line: str = ""
    subject: str = ""
    detail: str = ""
    short_of_memory: bool = False


class Rule(NamedTuple):
    """A line that matches is of the kind; its first group is the subject, the second the detail."""

    kind: Kind
    pattern: re.Pattern[str]


def _rule(kind: Kind, pattern: str) -> Rule:
    return Rule(kind, re.compile(pattern))


NODE = r"Could not find any implementation for node (.+?)"
RULES = (
    _rule(Kind.NO_LIBRARY, r"error while loading shared libraries: ([^:]+)"),
    _rule(Kind.NO_LIBRARY, r"Could not load library ([^:\s]+)"),
    _rule(
        Kind.NO_GPU,
        r"no CUDA-capable device|CUDA initialization failure with error|CUDA driver version is insufficient",
    ),
    _rule(Kind.OPTION, r"Unknown option: (\S+)"),
    _rule(Kind.OPTION, r"^(?:sto[ifd]$|.*conversion failure: |Incompatible load and save|Model missing)"),
    _rule(
        Kind.OTHER_VERSION, r"not compatible with this version of TensorRT()(?:, (expecting .*?), please)?"
    ),
    _rule(Kind.OTHER_VERSION, r"Version tag does not match"),
    _rule(Kind.OTHER_GPU, r"generated on an incompatible device()(?:, (expecting .*?), please)?"),
    _rule(Kind.NO_ENGINE, r"(?:Error opening|Could not open) engine file:? ?(.*)"),
    _rule(Kind.BAD_ENGINE, r"Magic tag does not match|Error Code 1: Serialization"),
    _rule(Kind.BAD_ENGINE, r"^Engine deserialization failed"),
    _rule(Kind.PARSE, r"While parsing node number \d+ \[([^\]]*?)(?: ->.*)?\]"),
    _rule(Kind.BAD_MODEL, r"Failed to parse ONNX model from file: (.*?)!?$"),
    _rule(Kind.BAD_MODEL, r"Could not open file (.*)"),
    _rule(Kind.PARSE, r"^Failed to parse onnx file"),
    _rule(Kind.CALIBRATION, r"Calibration failure occurred"),
    _rule(Kind.WORKSPACE, NODE + r" due to insufficient workspace"),
    _rule(Kind.NO_IMPLEMENTATION, NODE + r"\.?\)?$"),
    _rule(
        Kind.GPU_MEMORY,
        r"Error Code \d+: OutOfMemory|\(out of memory\)|[Cc]uda (?:failure|error).*out of memory",
    ),
    _rule(Kind.HOST_MEMORY, r"std::bad_alloc|Cannot allocate memory"),
    _rule(Kind.DISK, r"Saving engine to file failed|No space left on device|Disk quota exceeded"),
    _rule(Kind.INPUT, r"Unexpected file size for input file: (.*?)\. Note: (.*? bytes)\."),
    _rule(Kind.INPUT, r"Cannot open file (.*)!"),
)
WHILE_LOADING = (Kind.OTHER_VERSION, Kind.OTHER_GPU, Kind.NO_ENGINE, Kind.BAD_ENGINE)
NO_ROOM = re.compile(r"insufficient memory|insuficient memory|OutOfMemory|could not be allocated")
SHORTLY = 12
NODE_NAME = re.compile(r'^(?:ModelImporter\.cpp:\d+: )?name: "(.*)"$')
CAUSE = re.compile(
    r"^(?:ModelImporter\.cpp:\d+: )?(?:\[\d+\] (?:Assertion failed: )?|Assertion failed: )(.+)"
)
SIGNALS = {9: Kind.KILLED, 15: Kind.STOPPED, 2: Kind.STOPPED, 1: Kind.STOPPED}
GENERAL = re.compile(r"^\[[^\]]{0,40}\] \[E\] ")


def find_failure(text: str, code: int) -> Failure | None:
    """Why a run of trtexec failed; None where it did not.

    Args:
        text: its whole log, stdout and stderr.
        code: its exit code: above 128, or below 0, for one that a signal ended.

    An exit code of 0 is not taken for success where the log says that an engine could not be loaded:
    trtexec 10.13 with ``--skipInference`` has been seen to say PASSED then.
    """
    raw = text.splitlines()
    lines = ["" if line.startswith(("  ", "===")) else PREFIX.sub("", line.rstrip()) for line in raw]
    for rule in RULES:
        if code == 0 and rule.kind not in WHILE_LOADING:
            continue
        for at, line in enumerate(lines):
            if found := rule.pattern.search(line):
                return _failure(rule.kind, line, found, lines, at)
    if code == 0:
        return None
    number = -code if code < 0 else code - 128
    last = next((PREFIX.sub("", line.rstrip()) for line in reversed(raw) if GENERAL.match(line)), "")
    if 0 < number <= 64:
        return Failure(SIGNALS.get(number, Kind.CRASHED), last, detail=f"signal {number}")
    return Failure(Kind.OTHER, last, detail=f"exit code {code}")


def _failure(kind: Kind, line: str, found: re.Match[str], lines: Sequence[str], at: int) -> Failure:
    subject, detail, *_ = [*(group or "" for group in found.groups()), "", ""]
    if kind is Kind.PARSE:
        subject, detail = _parse_error(subject, lines[at : at + 60])
    short = any(NO_ROOM.search(each) for each in lines[max(at - SHORTLY, 0) : at])
    return Failure(kind, line.strip(), subject.strip(), detail.strip(), short)


def _parse_error(operator: str, lines: Sequence[str]) -> tuple[str, str]:
    """Name of the node (else its operator) and the parser's reason, from the block that follows."""
    name = next((found[1] for line in lines if (found := NODE_NAME.match(line))), "")
    cause = next((found[1] for line in lines[1:] if (found := CAUSE.match(line))), "")
    return name or operator, cause


WHATS = {
    Kind.NO_LIBRARY: (
        "a library is missing: {subject}",
        "install TensorRT there whole (JetPack: nvidia-jetpack)",
    ),
    Kind.NO_GPU: ("trtexec finds no GPU", "check the driver there; in a container, start it with the GPU"),
    Kind.OPTION: (
        "trtexec does not take an option: {line}",
        "it is not NVIDIA's trtexec for its version, or onnxcomp is wrong about it: report it with the log",
    ),
    Kind.OTHER_VERSION: (
        "the engine was built by another version of TensorRT {detail}",
        "build it again there",
    ),
    Kind.OTHER_GPU: ("the engine was built on another kind of GPU {detail}", "build it again there"),
    Kind.NO_ENGINE: ("there is no such engine {subject}", "build it first"),
    Kind.BAD_ENGINE: ("the file is no TensorRT engine, or a damaged one", "build it again"),
    Kind.PARSE: (
        "TensorRT's parser does not take {subject}: {detail}",
        "run onnxcomp lint with this target, and onnxcomp finalize",
    ),
    Kind.BAD_MODEL: (
        "TensorRT cannot read {subject} as ONNX",
        "check it with onnxcomp inspect; it may be cut off",
    ),
    Kind.CALIBRATION: (
        "INT8 was asked for, but there are no ranges to quantize with",
        "give it a network with Q/DQ nodes, or its calibration cache",
    ),
    Kind.WORKSPACE: ("the scratch memory does not suffice for {subject}", "allow more workspace"),
    Kind.NO_IMPLEMENTATION: (
        "this GPU has no kernel for {subject}",
        "leave that layer unquantized, or see onnxcomp lint for this target",
    ),
    Kind.GPU_MEMORY: (
        "the GPU's memory does not suffice",
        "end other programs there, allow less workspace, or take a smaller batch",
    ),
    Kind.HOST_MEMORY: ("the memory does not suffice", "end other programs there, or add swap"),
    Kind.DISK: ("the disk there is full, or not writable", "make room there"),
    Kind.INPUT: ("an input does not fit the engine: {subject} {detail}", "give inputs of the engine's shape"),
    Kind.KILLED: (
        "trtexec was killed",
        "most often the memory ran out: end other programs there, or add swap",
    ),
    Kind.STOPPED: ("trtexec was stopped from outside", "run it again"),
    Kind.CRASHED: ("trtexec crashed ({detail})", "see its log with --verbose"),
    Kind.OTHER: ("trtexec failed ({detail}): {line}", "see its log with --verbose"),
}
MEMORY_FIRST = "it was short of memory just before: end other programs there first"


def failure_error(failure: Failure, where: str = "trtexec") -> TrtexecError:
    """The failure as an error in one line.

    Args:
        where: the device or the file that it is about; printed first.
    """
    what, fix = WHATS[failure.kind]
    parts = {"subject": failure.subject, "detail": failure.detail, "line": failure.line}
    text = what.format(**parts).strip().rstrip(":").rstrip()
    if failure.kind is Kind.NO_IMPLEMENTATION and failure.short_of_memory:
        fix = f"{MEMORY_FIRST}; {fix}"
    return TrtexecError(text, where=where, fix=fix)
