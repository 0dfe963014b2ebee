"""The table of networks, the same in HTML and Markdown."""

from __future__ import annotations

from onnxcomp.page.found import latency_of
from onnxcomp.page.network import Network
from onnxcomp.page.report import Report
from onnxcomp.page.text import UNKNOWN, count, milliseconds, percent
from onnxcomp.visible import visible

Cells = tuple[str, ...]


def columns(report: Report) -> Cells:
    """Headings; the first columns hold names, all others numbers."""
    names = ["network", "run"] if len(report.runs) > 1 else ["network"]
    return (
        *names,
        *("top-1", "bytes", "deflated", "parameters", "non-zero", "MACs"),
        *(f"{batch}, ms, measured" for batch in _batches(report)),
        *(f"{name}, ms, measured" for name in _devices(report)),
        *(f"{column.target}, ms, estimate" for column in report.columns),
    )


def names(report: Report) -> int:
    """How many of the columns hold names."""
    return 1 + (len(report.runs) > 1)


def rows(report: Report) -> list[Cells]:
    """A row of texts for each network."""
    return [_row(report, network) for network in report.networks]


def notes(report: Report) -> list[str]:
    """What the reader of the table must know."""
    found = [
        "MACs are for one image and count zeros as work; parameters count as zero after rounding to INT8.",
        "Deflated is the file through zlib level 6, about what a package or a zip ships.",
    ]
    counts = sorted(
        {network.accuracy.count for network in report.networks if network.accuracy} - {None}, key=str
    )
    if len(counts) == 1 and counts[0]:
        found.append(f"Accuracy on {counts[0]:,} test images: one image is {100 / counts[0]:.2g} points.")
    machines = dict.fromkeys(
        visible(text) for run in report.runs if isinstance(text := run.origin.get("machine"), str)
    )
    threads = sorted({one.latency.threads or 0 for one in report.networks if one.latency} - {0})
    if any(network.latency for network in report.networks):
        where = f" on {'; '.join(machines)}" if machines else ""
        used = f", threads: {', '.join(map(str, threads))}" if threads else ""
        found.append(f"Measured latency: the median in ONNX Runtime{where}{used}; noisy.")
    if report.columns:
        devices = ", ".join(f"{column.target} is {column.device}" for column in report.columns)
        found.append(
            f"Estimates are computed from operations and bytes at batch 1, nothing was run there: {devices}."
        )
    return found


def _row(report: Report, network: Network) -> Cells:
    names = [network.label, network.run] if len(report.runs) > 1 else [network.label]
    accuracy, latency = network.accuracy, network.latency
    batch = _batch(network)
    devices = []
    for device in _devices(report):
        profile = report.profile_of(network)
        own = profile is not None and _device(profile.conditions.gpu, profile.conditions.machine) == device
        devices.append(milliseconds(latency_of(profile) if own and profile else None))
    estimated = [column.cells.get(network.digest) for column in report.columns]
    return (
        *names,
        percent(accuracy.top1 if accuracy else None),
        count(network.size.raw),
        count(network.size.deflated),
        count(network.parameters.total),
        count(network.parameters.nonzero_int8),
        count(network.macs),
        *(milliseconds(latency.median if latency and batch == each else None) for each in _batches(report)),
        *devices,
        *(UNKNOWN if cell is None else milliseconds(cell.us / 1000) for cell in estimated),
    )


def _batch(network: Network) -> str:
    latency = network.latency
    if latency is None:
        return ""
    return f"{'CPU' if latency.provider == 'cpu' else visible(latency.provider)}, batch {latency.batch}"


def _batches(report: Report) -> list[str]:
    """Where and at which batch the runs measured: usually one."""
    return list(dict.fromkeys(_batch(network) for network in report.networks if network.latency))


def _devices(report: Report) -> list[str]:
    """Devices of profiles that belong to a network of the table."""
    profiles = (report.profile_of(network) for network in report.networks)
    return list(
        dict.fromkeys(
            _device(one.conditions.gpu, one.conditions.machine)
            for one in profiles
            if one is not None and latency_of(one) is not None
        )
    )


def _device(gpu: str, machine: str) -> str:
    return visible(gpu or machine) or "device"
