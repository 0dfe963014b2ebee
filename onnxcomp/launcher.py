"""Which of several processes this one is, as the MPI launcher's environment says; and how all of them end."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass

# Rank, number of ranks, ranks on this machine. Open MPI: "Environment variables" in its mpirun manual.
# MPICH's Hydra and Intel MPI: PMI-1 and PMI-2, which srun speaks too. srun --mpi=pmix: "Output
# environment variables" in its manual; PMIX_RANK tells such a task from one of a plain srun.
_LAUNCHERS = (
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_SIZE"),
    ("PMI_RANK", "PMI_SIZE", "MPI_LOCALNRANKS"),
    ("PMIX_RANK", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_TASKS_PER_NODE"),
)
_DELIVERY = 1.0
"""Seconds that the launcher has to pass on what was said: an abort cuts off the rest."""
_PATIENCE = _DELIVERY + 1.0
"""Seconds that rank 0 has for its error before another rank says the same."""


@dataclass(frozen=True)
class Launch:
    """This process among those that a launcher started.

    Attributes:
        rank: 0 to ``size`` - 1.
        size: processes in all; 1 without a launcher.
        local_size: processes on this machine, 1 to ``size``.
    """

    rank: int = 0
    size: int = 1
    local_size: int = 1


def launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """What the launcher of this process says; nothing of MPI is imported."""
    for names in _LAUNCHERS:
        rank, size, local = (_number(environment.get(name, "")) for name in names)
        if rank is not None and size is not None and rank < size:
            if local is None:
                local = _number(environment.get("SLURM_STEP_TASKS_PER_NODE", ""))
            return Launch(rank, size, max(1, min(local or size, size)))
    return Launch()


def _number(text: str) -> int | None:
    """The largest number in ``text``: Slurm writes ``4(x2),3`` for nodes with 4, 4 and 3 tasks."""
    if not re.fullmatch(r"\d+(\(x\d+\))?(,\d+(\(x\d+\))?)*", text):
        return None
    return max(int(part.split("(")[0]) for part in text.split(","))


def wait_turn() -> None:
    """Before an error is printed: an error that all ranks make is printed by rank 0 alone.

    Rank 0 returns at once, prints and calls :func:`end_all`, which ends the others while they still
    wait here; a rank that failed alone speaks a moment later.
    """
    rank = launch().rank
    if rank:
        time.sleep(_PATIENCE + 0.05 * min(rank, 20))


def end_all(code: int) -> None:
    """End every rank with exit code ``code`` if MPI runs and there are others; else return.

    A rank that leaves on its own would leave the others waiting for its gradients for ever.
    """
    mpi = sys.modules.get("mpi4py.MPI")
    if mpi is None or not mpi.Is_initialized() or mpi.Is_finalized():
        return
    if mpi.COMM_WORLD.Get_size() > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        time.sleep(_DELIVERY)
        mpi.COMM_WORLD.Abort(code)
        time.sleep(10)  # MPICH's returns, and the launcher ends this process a moment later
        os._exit(code)
