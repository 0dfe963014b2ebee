"""The time of each run: ``--exportTimes``.

``exportJSONTrace`` of samples/common/sampleReporting.cpp in NVIDIA/TensorRT writes a list of
``{ "startEnqMs" : ..., ..., "h2dMs" : ..., "computeMs" : ..., "d2hMs" : ..., "latencyMs" : ... }``, in
milliseconds; starts and ends since measuring began. Older versions write the runs of the warm-up too. A
list may hold hundreds of thousands of runs, so it is read by columns and not as JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from onnxcomp.deploy.trtexec.exports.tolerant import FIX, NUMBER, ExportError, number, read_text
from onnxcomp.deploy.trtexec.log import Summary, Times

Column = npt.NDArray[np.float64]
OPEN, CLOSE = re.compile(r"\s*\[\s*(?=[{\]])"), re.compile(r"(?<=[\[}\s])\]\s*\Z")
NEEDED = ("startComputeMs", "computeMs", "latencyMs")
ALL = ("startEnqMs", "endEnqMs", "startH2dMs", "endD2hMs", "h2dMs", "d2hMs", *NEEDED)
PERCENTS = (90.0, 95.0, 99.0)


@dataclass(frozen=True)
class Runs:
    """Milliseconds, float64, one value a run; all of one length.

    Attributes:
        compute: on the GPU.
        latency: from the start of the copy in to the end of the copy out.
        h2d, d2h: the copies in and out.
        enqueue: what the CPU needed to launch.
        seconds: from the first copy in to the last copy out; 0 for no run.
    """

    compute: Column
    latency: Column
    h2d: Column
    d2h: Column
    enqueue: Column
    seconds: float

    def __len__(self) -> int:
        return len(self.compute)


def read_runs(path: Path, warm_up: float = 0.0) -> Runs:
    """Read a file of ``--exportTimes``.

    Args:
        warm_up: milliseconds; runs that began to compute earlier are left out, as trtexec's summary does.

    Raises:
        ExportError: it cannot be read, is something else, or is cut off.
    """
    return parse_runs(read_text(path), str(path), warm_up)


def parse_runs(text: str, where: str, warm_up: float = 0.0) -> Runs:
    """As :func:`read_runs`, from the text.

    Raises:
        ExportError: it is something else, or cut off.
    """
    if not OPEN.match(text):
        raise ExportError("is not what trtexec writes for --exportTimes", where=where, fix=FIX)
    count = text.count("{")
    if not CLOSE.search(text, len(text.rstrip()) - 1) or text.count("}") != count:
        raise ExportError("is damaged or cut off", where=where, fix=FIX)
    columns = {name: _column(name, text) for name in ALL}
    if any(len(columns[name]) != count for name in NEEDED):
        raise ExportError("is damaged: not every run has its times", where=where, fix=FIX)
    full = {name: each if len(each) == count else np.full(count, np.nan) for name, each in columns.items()}
    finite = np.all([np.isfinite(full[name]) for name in NEEDED], axis=0)
    kept = finite & (full["startComputeMs"] >= warm_up)
    return _runs({name: each[kept] for name, each in full.items()})


def summary(runs: Runs) -> Summary | None:
    """What trtexec's summary says of these runs, by its own formulas; None for no run."""
    if not len(runs):
        return None
    return Summary(
        throughput=len(runs) / runs.seconds if runs.seconds > 0 else None,
        latency=statistics(runs.latency),
        enqueue=statistics(runs.enqueue),
        h2d=statistics(runs.h2d),
        gpu=statistics(runs.compute),
        d2h=statistics(runs.d2h),
        walltime=runs.seconds,
        gpu_total=float(np.sum(runs.compute)) / 1000,
    )


def statistics(values: Column) -> Times | None:
    """Of at least one value; None where one is unknown.

    The percentile is that of trtexec: no interpolation, ``int((1 - p) * n)`` of the values are above it.
    """
    if not np.all(np.isfinite(values)):
        return None
    ordered = np.sort(values)
    above = [int((1 - percent / 100) * len(ordered)) for percent in PERCENTS]
    return Times(
        min=float(ordered[0]),
        max=float(ordered[-1]),
        mean=float(np.mean(ordered)),
        median=float(np.median(ordered)),
        percentiles=tuple(
            (percent, float(ordered[max(len(ordered) - 1 - count, 0)]))
            for percent, count in zip(PERCENTS, above, strict=True)
        ),
    )


def _column(name: str, text: str) -> Column:
    found = re.findall(rf'"{name}"\s*:\s*({NUMBER})', text, re.IGNORECASE)
    values = (number(each) for each in found)
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _runs(columns: dict[str, Column]) -> Runs:
    seconds = 0.0
    if len(columns["computeMs"]):
        length = columns["endD2hMs"][-1] - columns["startH2dMs"][0]
        seconds = float(length) / 1000 if np.isfinite(length) else 0.0
    return Runs(
        compute=columns["computeMs"],
        latency=columns["latencyMs"],
        h2d=columns["h2dMs"],
        d2h=columns["d2hMs"],
        enqueue=columns["endEnqMs"] - columns["startEnqMs"],
        seconds=seconds,
    )
