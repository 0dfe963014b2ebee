"""What trtexec's log warns of and a reader of its numbers must know.

The lines are those of samples/common/sampleReporting.cpp, sampleInference.cpp and sampleEngines.cpp of
NVIDIA/TensorRT, and of the library as seen in published logs (TRT#2129, TRT#4555, TRT#3847, and NVIDIA's DLA
guide).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple


class Rule(NamedTuple):
    """Lines that match ``pattern`` mean ``text``, which may hold its first group as ``{}``."""

    kind: str
    pattern: re.Pattern[str]
    text: str


@dataclass(frozen=True)
class Notice:
    """Something that trtexec warned of.

    Attributes:
        kind: one of those in :data:`RULES`.
        text: what it means, a line without a full stop.
        count: how often it was said.
    """

    kind: str
    text: str
    count: int = 1


def _rule(kind: str, pattern: str, text: str) -> Rule:
    return Rule(kind, re.compile(pattern), text)


RULES = (
    _rule(
        "unstable",
        r"GPU compute time is unstable, with coefficient of variance = ([\d.e+]{1,20})%",
        "times vary by {}% (one standard deviation): fix the clocks (on a Jetson: sudo jetson_clocks)",
    ),
    _rule(
        "enqueue",
        r"Throughput may be bound by Enqueue Time",
        "the CPU cannot launch kernels fast enough: the GPU waits",
    ),
    _rule(
        "transfers",
        r"Throughput may be bound by (host-to-device|device-to-host) transfers",
        "{} copies take longer than the computing",
    ),
    _rule(
        "graph",
        r"not permitted under CUDA graph capture mode|--useCudaGraph flag has been ignored"
        r"|CUDA graph option has been disabled",
        "it ran without a CUDA graph: launches count, so compare with care",
    ),
    _rule(
        "made-up",
        r"Calibrator is not being used\. Users must provide dynamic range",
        "INT8 ranges are made up (no Q/DQ and no calibration cache): the times hold, the answers do not",
    ),
    _rule(
        "noise",
        r"Starting Calibration",
        "there was no calibration cache: trtexec calibrated on random values, so the answers do not hold",
    ),
    _rule(
        "scales",
        r"Missing scale and zero-point for tensor",
        "tensors without a scale: the layers around them do not run in INT8",
    ),
    _rule(
        "gpu-fallback",
        r"Default DLA is enabled but layer .* falling back to GPU",
        "layers that the DLA cannot run: they run on the GPU",
    ),
    _rule(
        "other-device",
        r"Using an engine plan file across different models of devices",
        "the engine was built on another model of device: build it here",
    ),
    _rule(
        "parallel",
        r"The engine uses (\d{1,9}) auxiliary streams",
        "layers ran side by side on {} more streams: their times add up to more than the whole",
    ),
)


class NoticeReader:
    """Collects notices line by line."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._counts: Counter[str] = Counter()

    def read(self, line: str) -> None:
        """Take a line; one that warns of nothing known is passed over."""
        for rule in RULES:
            found = rule.pattern.search(line)
            if found:
                self._counts[rule.kind] += 1
                self._texts.setdefault(rule.kind, rule.text.format(*found.groups()))

    @property
    def notices(self) -> tuple[Notice, ...]:
        """One of each kind, in the order in which they were first said."""
        return tuple(Notice(kind, text, self._counts[kind]) for kind, text in self._texts.items())
