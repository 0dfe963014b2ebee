"""What each place of deployment parses and runs fast, as data."""

from __future__ import annotations

from pathlib import Path

from onnxcomp.deploy.targets.reading import read_all, read_one
from onnxcomp.deploy.targets.target import Rates, Target
from onnxcomp.errors import OnnxcompError
from onnxcomp.nearest import meant

__all__ = ["KINDS", "TARGETS", "Rates", "Target", "get_target"]

TARGETS = read_all(Path(__file__).with_name("catalogue.yaml"))
"""Those that onnxcomp knows, by name."""
KINDS = tuple(
    TARGETS[name] for name in ("xavier", "xavier-dla", "orin", "orin-dla", "tensorrt-11", "ort-cpu")
)
"""One for each kind of runtime and of hardware that differs in what it takes."""


def get_target(name: str) -> Target:
    """The target called ``name``, or the one in a file of that name that ends in ``.yaml`` or ``.yml``.

    Raises:
        OnnxcompError: there is none; names the nearest.
    """
    if name in TARGETS:
        return TARGETS[name]
    if Path(name).suffix in (".yaml", ".yml"):
        return read_one(Path(name), TARGETS)
    fix = meant(name, TARGETS, f"choose one of {', '.join(TARGETS)}, or a .yaml file", alike=0.5)
    raise OnnxcompError(f"there is no target {name}", where="--target", fix=fix)
