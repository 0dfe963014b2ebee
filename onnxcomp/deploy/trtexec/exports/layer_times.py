"""The time of each layer: ``--exportProfile``.

``exportJSONProfile`` of samples/common/sampleReporting.cpp in NVIDIA/TensorRT writes a list: first
``{ "count" : 100 }``, then for each layer ``{ "name" : "...", "timeMs" : ..., "averageMs" : ...,
"medianMs" : ..., "percentage" : ... }``. 8.4 and older write no median. Names are not escaped, so that a name
with a quote or a backslash makes the file no JSON: names are taken as all that stands before ``", "timeMs"``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from onnxcomp.deploy.trtexec.exports.tolerant import (
    FIX,
    NUMBER,
    ExportError,
    number,
    read_text,
    unescaped,
)

HEAD = re.compile(r'\s*\[\s*(?:\{\s*"count"\s*:\s*(\d{1,18})\s*\}\s*)?')
NAME = re.compile(r'[\s,]*\{\s*"name"(\s*):\s*"')
TAIL = re.compile(
    rf'"\s*,\s*("timeMs"\s*:\s*{NUMBER}(?:\s*,\s*"\w{{1,40}}"\s*:\s*{NUMBER}){{0,20}})\s*\}}', re.IGNORECASE
)
PAIR = re.compile(rf'"(\w{{1,40}})"\s*:\s*({NUMBER})', re.IGNORECASE)
END = re.compile(r"\s*\]\s*\Z")


@dataclass(frozen=True)
class LayerTime:
    """One layer of an engine.

    Attributes:
        name: as TensorRT calls it.
        total: milliseconds in all runs.
        mean, median: milliseconds of a run; None where it is not said.
        percent: of the sum of all layers; None where that sum is 0.
    """

    name: str
    total: float | None
    mean: float | None
    median: float | None
    percent: float | None


@dataclass(frozen=True)
class LayerTimes:
    """All layers, in the order in which they run.

    Attributes:
        runs: that were measured; None where it is not said.
    """

    runs: int | None
    layers: tuple[LayerTime, ...]


def read_layer_times(path: Path) -> LayerTimes:
    """Read a file of ``--exportProfile``.

    Raises:
        ExportError: it cannot be read, is something else, or is cut off.
    """
    return parse_layer_times(read_text(path), str(path))


def parse_layer_times(text: str, where: str) -> LayerTimes:
    """As :func:`read_layer_times`, from the text.

    Raises:
        ExportError: it is something else, or cut off.
    """
    head = HEAD.match(text)
    if head is None:
        raise ExportError("is not what trtexec writes for --exportProfile", where=where, fix=FIX)
    at = head.end()
    layers: list[LayerTime] = []
    for tail in TAIL.finditer(text, at):
        name = NAME.match(text, at, tail.start())
        if name is None:
            raise ExportError(f"layer {len(layers) + 1} has no name", where=where, fix=FIX)
        written = text[name.end() : tail.start()]
        # trtexec puts a space before the colon and escapes nothing; what another tool wrote anew is escaped.
        layers.append(_layer(written if name[1] else unescaped(written), tail[1]))
        at = tail.end()
    if not END.match(text, at):
        raise ExportError(f"is damaged or cut off after layer {len(layers)}", where=where, fix=FIX)
    return LayerTimes(int(head[1]) if head[1] else None, tuple(layers))


def _layer(name: str, pairs: str) -> LayerTime:
    values = {key: number(value) for key, value in PAIR.findall(pairs)}
    return LayerTime(
        name=name,
        total=values.get("timeMs"),
        mean=values.get("averageMs"),
        median=values.get("medianMs"),
        percent=values.get("percentage"),
    )
