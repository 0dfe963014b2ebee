"""Run Python on several local MPI ranks, or skip where that is not possible."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project import ROOT

# Open MPI refuses root and more ranks than cores unless asked; MPICH ignores these.
OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def launcher() -> str:
    """The mpirun of this environment, or of the system."""
    here = Path(sys.executable).with_name("mpirun")
    return str(here) if here.exists() else shutil.which("mpirun") or ""


def open_mpi() -> bool:
    """Whether :func:`launcher` is Open MPI's."""
    version = [launcher(), "--version"]
    return (
        bool(launcher())
        and "Open MPI" in subprocess.run(version, capture_output=True, text=True, check=False).stdout
    )


needs_mpi = pytest.mark.skipif(
    not launcher() or importlib.util.find_spec("mpi4py") is None,
    reason="needs mpirun and mpi4py: pip install mpi4py mpich",
)


def command(count: int, *args: str) -> list[str]:
    """The command line of ``count`` ranks of this Python with ``args``; warnings are errors."""
    return [launcher(), "-n", str(count), sys.executable, "-W", "error", *args]


def mpirun(count: int, *args: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run ``python <args>`` on ``count`` ranks."""
    return subprocess.run(
        command(count, *args),
        cwd=ROOT,
        env={**os.environ, **OPEN_MPI},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
