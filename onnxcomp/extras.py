"""Optional packages: import them, or say what to install.

Everything that needs ONNX Runtime calls :func:`onnxruntime` instead of importing it.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

from onnxcomp.errors import MissingPackageError

# All of these own the import name `onnxruntime`: installing two overwrites files of the first.
RUNTIMES = {
    "onnxruntime": "cpu",
    "onnxruntime-gpu": "gpu",
    "onnxruntime-training": "train-gpu",
    "onnxruntime-training-cpu": "train",
}
TRAINING_RUNTIMES = ("onnxruntime-training", "onnxruntime-training-cpu")


def installed_runtimes() -> list[str]:
    """Names of the installed distributions that provide ``onnxruntime``."""
    found = []
    for name in RUNTIMES:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def onnxruntime() -> Any:
    """Import ONNX Runtime, whichever package provides it, without importing torch.

    Raises:
        MissingPackageError: none is installed, or more than one.
    """
    if "onnxruntime" in sys.modules and sys.modules["onnxruntime"] is not None:
        return sys.modules["onnxruntime"]
    found = installed_runtimes()
    if len(found) > 1:
        raise MissingPackageError(
            f"{' and '.join(found)} are both installed and overwrite each other's files",
            where="onnxruntime",
            fix=f"run: pip uninstall -y {' '.join(found)} && pip install {found[-1]}",
        )
    if not found or importlib.util.find_spec("onnxruntime") is None:
        raise MissingPackageError(
            "ONNX Runtime is not installed",
            where="onnxruntime",
            fix="run: pip install 'onnxcomp[train]' (or [cpu] to only evaluate)",
        )
    if found[0] in TRAINING_RUNTIMES:
        _hide_ortmodule()
    runtime = importlib.import_module("onnxruntime")
    runtime.set_default_logger_severity(4)
    sys.modules.pop("onnxruntime.training.ortmodule", None)
    return runtime


def _hide_ortmodule() -> None:
    """Keep ``import onnxruntime`` from importing torch (microsoft/onnxruntime#22070).

    The package's ``training/__init__`` imports torch; a bare package module in its place gives
    access to the submodules that do not.
    """
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None
    assert spec.submodule_search_locations
    name = "onnxruntime.training"
    path = str(Path(spec.submodule_search_locations[0]) / "training")
    package = types.ModuleType(name)
    package.__path__ = [path]
    package.__package__ = name
    package.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    package.__spec__.submodule_search_locations = [path]
    sys.modules[name] = package
    sys.modules[name + ".ortmodule"] = None  # type: ignore[assignment]


def training_bindings() -> Any:
    """The pybind module of ONNX Runtime Training (``GradientGraphBuilder`` and friends).

    Raises:
        MissingPackageError: the installed ONNX Runtime cannot train.
    """
    onnxruntime()
    found = installed_runtimes()
    if not set(found) & set(TRAINING_RUNTIMES):
        raise MissingPackageError(
            f"{' '.join(found)} cannot train",
            where="onnxruntime",
            fix="run: pip uninstall -y "
            + " ".join(found)
            + " && pip install 'onnxcomp[train]' (Python 3.10 to 3.12)",
        )
    return importlib.import_module("onnxruntime.capi._pybind_state")


def optional(module: str, extra: str) -> Any:
    """Import ``module`` or say which extra brings it.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.split(".")[0]:
            raise
        raise MissingPackageError(
            f"the package {error.name} is not installed",
            where=module,
            fix=f"run: pip install 'onnxcomp[{extra}]'",
        ) from error
