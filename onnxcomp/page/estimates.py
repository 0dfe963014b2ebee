"""How long each network would take on devices that are not at hand: estimates, never measured."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxcomp import model as models
from onnxcomp.deploy.estimate import Estimate, estimate
from onnxcomp.deploy.estimate.roofline import Roof
from onnxcomp.deploy.finalize import finalize_report
from onnxcomp.deploy.targets import Target, get_target
from onnxcomp.deploy.write import write
from onnxcomp.errors import OnnxcompError
from onnxcomp.page.network import Network


@dataclass(frozen=True)
class Column:
    """One target.

    Attributes:
        target: its name.
        device: what it is called.
        cells: the estimate by SHA-256 of the network's file.
    """

    target: str
    device: str
    cells: Mapping[str, Estimate]


def targets_of(networks: Sequence[Network], more: Iterable[str]) -> tuple[list[Target], list[str]]:
    """What there is to estimate for: the networks' own targets where their figures are known, and ``more``.

    Returns:
        The targets, and a line for each of the networks' that is not known.

    Raises:
        OnnxcompError: one of ``more`` is not known, or nothing is known of its speed.
    """
    found: dict[str, Target] = {}
    problems = []
    for name in dict.fromkeys(network.target for network in networks if network.target):
        try:
            target = get_target(name)
        except OnnxcompError as error:
            problems.append(f"target {name}: {error.what}: no estimate for it")
            continue
        if target.rates is not None and target.bandwidth is not None:
            found[target.name] = target
    for name in more:
        target = get_target(name)
        Roof.of(target)
        found[target.name] = target
    return list(found.values()), problems


def column(
    networks: Sequence[Network], target: Target, step: Callable[[], None] = lambda: None
) -> tuple[Column, list[str]]:
    """Estimate each network on ``target``: the file that was finalized for it, or its source finalized now.

    Args:
        step: called after each network.

    Returns:
        The column, and a line for each network that could not be estimated.
    """
    cells: dict[str, Estimate] = {}
    refused: dict[str, list[str]] = {}
    for network in networks:
        try:
            cells[network.digest] = _estimate(network, target)
        except OnnxcompError as error:
            refused.setdefault(error.what, []).append(network.label)
        step()
    problems = [
        f"no estimate of {', '.join(labels)} for {target.name}: {why}" for why, labels in refused.items()
    ]
    return Column(target.name, target.device, cells), problems


def _estimate(network: Network, target: Target) -> Estimate:
    if network.target == target.name:
        return estimate(network.path, target)
    if network.source is None:
        raise OnnxcompError("the file to finalize is gone")
    with tempfile.TemporaryDirectory(prefix="onnxcomp-") as folder:
        path = Path(folder) / "deployable.onnx"
        write(*finalize_report(models.load(network.source), target), path)
        return estimate(path, target)
