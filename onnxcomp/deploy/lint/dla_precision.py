"""Which layers a DLA runs in INT8: what the calibration cache and the precisions beside a file say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_graphsurgeon as gs

from onnxcomp.deploy.dla.files import read_calibration, read_precisions
from onnxcomp.deploy.dla.propagate import ends
from onnxcomp.deploy.lint import pairs
from onnxcomp.deploy.lint.network import Network
from onnxcomp.deploy.lint.report import Where
from onnxcomp.deploy.write import CALIBRATION, PRECISIONS
from onnxcomp.errors import ModelError


def scales(network: Network) -> Mapping[str, float] | None:
    """The calibration cache beside the file; None where there is none that can be read."""
    path = network.path.with_suffix(CALIBRATION)
    try:
        return read_calibration(path) if path.exists() else None
    except ModelError:
        return None  # the rule calibration-cache says why


def fp16(path: Path) -> set[str]:
    """Layers that the list beside the file runs in FP16."""
    text = read_precisions(path.with_suffix(PRECISIONS))
    return {entry.rpartition(":")[0] for entry in text.split(",")}


def float_layers(network: Network, nodes: list[gs.Node]) -> list[gs.Node]:
    """Those of ``nodes`` that are listed as FP16, or read or write a tensor without a scale."""
    known, listed = scales(network) or {}, fp16(network.path)
    return [node for node in nodes if node.name in listed or any(name not in known for name in ends(node))]


def coverage(network: Network) -> Where | None:
    """Which layers have scales all around and are not listed as FP16; None without a calibration cache."""
    if scales(network) is None:
        return None
    found = [layer.node for layer in pairs.layers(network)]
    floats = [node.name for node in float_layers(network, found)]
    return Where(len(found) - len(floats), len(found), tuple(floats))
